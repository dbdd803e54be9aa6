"""Fraud: labels that come days later, and only for the payments that were let through.

A declined payment never gets a chargeback, so its label never comes: of the payments that were let through, a
fraud model finds none. The example lets one payment in five through whatever its score, the control group, and
has Driftline measure that segment, of which the recall can be believed. The payments are made up: no package
ships real card fraud with times and labels.

    python docs/examples/fraud.py      # against a Driftline that runs; see shared.py
"""

import numpy as np
import pandas as pd
from shared import DAY, TODAY, Driftline, days, frame, rows, rows_of, times
from sklearn.linear_model import LogisticRegression

from driftline_client import ModelHandle

DAYS, CHARGEBACK_DAYS = 16, 6
PAYMENTS_A_DAY = 500
ATTACK_BEGAN = 3  # days ago
CONTROL = "control group"
FEATURES = ["amount", "card_age_days", "tries_last_hour", "is_abroad"]


def payments(count: int, seed: int, attack: float = 0.0) -> pd.DataFrame:
    """Make up payments, of which 3 % are with stolen cards; in an attack many more, with small amounts."""
    rng = np.random.default_rng(seed)
    tested = rng.random(count) < attack  # by thieves, who try whether a card works
    stolen = tested | (rng.random(count) < 0.03)
    drawn = frame(
        amount=np.where(tested, rng.uniform(1, 5, count), rng.lognormal(3.5 + 0.8 * stolen, 0.9, count)),
        card_age_days=rng.integers(1, np.where(stolen, 900, 2_000), count),
        tries_last_hour=rng.poisson(np.where(stolen, 2.5, 0.3), count),
        is_abroad=(rng.random(count) < np.where(stolen, 0.5, 0.1)).astype(int),
    )
    return drawn.assign(fraud=stolen.astype(int))


def decide(classifier: LogisticRegression, drawn: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Score payments, and decline the risky ones but for those of the control group."""
    scored = drawn.assign(probability=classifier.predict_proba(drawn[FEATURES])[:, 1].round(4))
    in_control = np.random.default_rng(seed).random(len(drawn)) < 0.2
    return scored.assign(
        prediction=(scored.probability >= 0.5).astype(int), group=np.where(in_control, "control", "usual")
    )


def log_and_label(fraud: ModelHandle, classifier: LogisticRegression) -> None:
    """Log each day's payments, and send the labels that are known by now."""
    logged = []
    for ago in days(DAYS):
        count = rows_of(ago, PAYMENTS_A_DAY)
        drawn = payments(count, seed=100 + ago, attack=0.12 if ago <= ATTACK_BEGAN else 0.0)
        day = decide(classifier, drawn, seed=ago)
        logged.append(day.assign(id=[f"{ago}-{n}" for n in range(count)], timestamp=times(ago, count)))
    log = pd.concat(logged, ignore_index=True)
    columns = {"id": "id", "timestamp": "timestamp", "tags": ["group"], "features": FEATURES}
    fraud.log_frame(log, prediction="prediction", probabilities="probability", **columns)
    let_through = log[(log.prediction == 0) | (log.group == "control")]
    waited = np.random.default_rng(7).uniform(1, CHARGEBACK_DAYS, len(let_through))
    # a chargeback comes when it comes; that there is none is known when no more can come
    known_after = pd.to_timedelta(np.where(let_through.fraud == 1, waited, CHARGEBACK_DAYS), unit="D")
    labels = let_through.assign(known_at=let_through.timestamp + known_after)
    labels = labels[labels.known_at < pd.Timestamp.now("UTC")]
    fraud.label_frame(labels, id="id", label="fraud", timestamp="known_at")


def reference(classifier: LogisticRegression) -> pd.DataFrame:
    """Make four older days; all their labels are known, from manual reviews."""
    scored = decide(classifier, payments(rows(6_000), seed=2), seed=2)
    when = [TODAY - 20 * DAY + DAY * 4 * (place / len(scored)) for place in range(len(scored))]
    return scored[[*FEATURES, "prediction", "probability"]].assign(label=scored.fraud, timestamp=when)


def main() -> None:
    driftline = Driftline()
    training = payments(rows(6_000), seed=1)
    classifier = LogisticRegression(max_iter=1_000).fit(training[FEATURES], training.fraud)
    lag = {"label_lag_hours": 24 * CHARGEBACK_DAYS}
    fraud = driftline.create("example-fraud", "binary", objectives=lag)
    control = {"name": CONTROL, "conditions": [{"tag": "group", "value": "control"}]}
    driftline.call("POST", f"/models/{fraud.name}/segments", control)
    fraud.reference(reference(classifier), wait_s=300)
    driftline.watch(fraud)
    log_and_label(fraud, classifier)
    driftline.wait(fraud)
    print(f"{DAYS} days of made-up payments, the last {ATTACK_BEGAN} under attack: {driftline.page(fraud)}")
    report(driftline, fraud)


def report(driftline: Driftline, fraud: ModelHandle) -> None:
    """Print what Driftline found."""
    coverage = [point for point in driftline.points(fraud, "label_coverage") if point["status"] != "unripe"]
    selective = [point for point in coverage if (point["detail"] or {}).get("selective_labels")]
    print(
        f"Labels depend on the decision (selective labels) on {len(selective)} of {len(coverage)} ripe days:"
    )
    for name, decision in (("0", "let through"), ("1", "declined")):
        by_class = driftline.points(fraud, "label_coverage_by_class", feature=name)
        shares = [point["value"] for point in by_class if point["value"] is not None]
        shares = shares[: DAYS - CHARGEBACK_DAYS]
        print(f"  {decision}: {np.mean(shares):.0%} of the payments have a label")
    print("Recall of the days of which all chargebacks are known:")
    for segment, who in (
        ("", "all payments with a label"),
        (CONTROL, "the control group, let through by chance"),
    ):
        found = driftline.points(fraud, "recall", segment=segment, step=f"{DAYS - CHARGEBACK_DAYS}d")
        ripe = [point for point in found if point["status"] != "unripe" and point["value"] is not None]
        if ripe:
            print(f"  {ripe[-1]['value']:.2f} of {who} (n = {ripe[-1]['n']})")
    unripe = [point for point in driftline.points(fraud, "recall") if point["status"] == "unripe"]
    print(f"Not judged yet, because chargebacks may still come: {len(unripe)} days.")
    estimated = driftline.points(fraud, "estimated_roc_auc")
    if estimated and estimated[-1]["value"] is not None:
        print(f"  ROC AUC of the newest, estimated without labels: {estimated[-1]['value']:.3f}")
    print("The attack, noticed by its payments before any chargeback:")
    driftline.print_drift(fraud)
    driftline.print_incidents(fraud)


if __name__ == "__main__":
    main()
