"""Recommendations: how good the order is, and who is shown at all.

Each session shows ten items, which are logged as ten rows with the session as their tag `query`; a click is the
label. The ranking metrics see the order alone. When a feedback loop lets popular items crowd out those of small
sellers, NDCG stays as it was: the segment of small sellers shows it, because only what was exposed is logged.
Sessions are made up: data sets of purchases do not hold what was shown and not bought.

    python docs/examples/recommendations.py      # against a Driftline that runs; see shared.py
"""

import numpy as np
import pandas as pd
from shared import DAY, TODAY, Driftline, days, frame, rows, rows_of, times

from driftline_client import ModelHandle

DAYS = 8
SESSIONS_A_DAY = 60
SHOWN, CANDIDATES = 10, 40
LOOP_BEGAN = 3  # days ago
FEATURES = ["price", "popularity", "age_days", "seller", "position"]


def catalogue() -> pd.DataFrame:
    """Make up 400 items, six of ten of small sellers, which are as good as the others and less popular."""
    rng = np.random.default_rng(1)
    small = rng.random(400) < 0.6
    return frame(
        price=rng.lognormal(3, 0.6, 400),
        popularity=np.where(small, rng.beta(2, 8, 400), rng.beta(5, 4, 400)),
        age_days=rng.integers(0, 365, 400),
        appeal=rng.normal(0, 1, 400),
        seller=np.where(small, "small", "large"),
    )


ITEMS = catalogue()


def session(rng: np.random.Generator, feedback: float) -> pd.DataFrame:
    """Choose the ten best of some candidates, and draw the clicks, which are rarer further down."""
    drawn = ITEMS.iloc[rng.choice(len(ITEMS), CANDIDATES, replace=False)]
    score = drawn.appeal + rng.normal(0, 0.7, CANDIDATES) + feedback * drawn.popularity
    shown = drawn.assign(score=score.round(4)).nlargest(SHOWN, "score")
    position = np.arange(1, SHOWN + 1)
    chance = 1 / (1 + np.exp(2.2 - 1.2 * shown.appeal)) / np.sqrt(position)
    return shown.assign(position=position, click=(rng.random(SHOWN) < chance).astype(int))


def sessions(count: int, seed: int, feedback: float = 0.0) -> pd.DataFrame:
    """Make up sessions, each with a number of its own."""
    rng = np.random.default_rng(seed)
    shown = [session(rng, feedback).assign(query=f"{seed}-{number}") for number in range(count)]
    return pd.concat(shown, ignore_index=True)


def log_and_label(shop: ModelHandle) -> None:
    """Log what each day's sessions showed, and which of it was clicked."""
    logged = []
    for ago in days(DAYS):
        count = rows_of(ago, SESSIONS_A_DAY)
        day = sessions(count, seed=100 + ago, feedback=4.0 if ago <= LOOP_BEGAN else 0.0)
        when = np.repeat(np.array(times(ago, count), dtype=object), SHOWN)
        logged.append(day.assign(id=day["query"] + "-" + day.position.astype(str), timestamp=when))
    log = pd.concat(logged, ignore_index=True)
    shop.log_frame(log, id="id", timestamp="timestamp", prediction="score", features=FEATURES, tags=["query"])
    shop.label_frame(log, id="id", label="click")


def reference() -> pd.DataFrame:
    """Make a week of older sessions."""
    shown = sessions(rows(7 * SESSIONS_A_DAY), seed=2)
    when = [TODAY - 20 * DAY + 7 * DAY * (place // SHOWN * SHOWN / len(shown)) for place in range(len(shown))]
    return shown[FEATURES].assign(prediction=shown.score, label=shown.click, timestamp=when)


def main() -> None:
    driftline = Driftline()
    shop = driftline.create(
        "example-recommendations", "ranking", segments=["seller"], objectives={"label_lag_hours": 0}
    )
    shop.reference(reference(), wait_s=300)
    driftline.watch(shop)
    log_and_label(shop)
    driftline.wait(shop)
    print(
        f"{DAYS} days of made-up sessions, the last {LOOP_BEGAN} in a feedback loop: {driftline.page(shop)}"
    )
    report(driftline, shop)


def report(driftline: Driftline, shop: ModelHandle) -> None:
    """Print what Driftline found."""
    shown = {point["start"]: point["n"] for point in driftline.points(shop, "label_coverage")}
    of_small = driftline.points(shop, "label_coverage", segment="seller:small")
    small = {point["start"]: point["n"] for point in of_small}
    print("day          NDCG of the first 10 (95 %)   hit rate   shown of small sellers")
    hits = {point["start"]: point["value"] for point in driftline.points(shop, "hit_rate_at_10")}
    for point in driftline.points(shop, "ndcg_at_10"):
        start = point["start"]
        if point["value"] is None or start not in shown:
            continue
        bounds = f"({point['lower']:.3f} to {point['upper']:.3f})" if point["lower"] is not None else ""
        exposure = small.get(start, 0) / shown[start]
        hit = f"{hits[start]:.0%}" if hits.get(start) is not None else "-"
        print(f"{start[:10]}   {point['value']:.3f} {bounds:<24}{hit:>8}{exposure:>12.0%}")
    print("What drifted on the newest day:")
    driftline.print_drift(shop)
    driftline.print_incidents(shop)


if __name__ == "__main__":
    main()
