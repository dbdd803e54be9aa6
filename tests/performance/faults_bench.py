"""What is noticed of faults in real data, and what is cried without one: `python -m tests.performance.faults_bench`.

Replays nine days of New York's flights through log, labels, summaries, metrics and the default rules, as workers do,
fifty times with a fault from the sixth day on and fifty times as they are, all in different weeks of the year. The
champion is trained on January and February; the reference of a replay is the two weeks before and the two weeks
after it, so that what it shows in a clean week is chance and not the season. Prints the incidents opened a fault,
whether the true cause was among the first two that an incident names, by then and in its first notification, and the
incidents of the clean weeks. With `--channels` the messages about the faults go to a server for every kind of channel
that checks them as its service does.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tests.performance.fault_messages import MessagesOfFaults, notify_of_all
from tests.performance.installation import services_with_django

if TYPE_CHECKING:
    from inference.registry.models import Model
    from monitors.alerts.models import Incident

DAYS, BROKEN_FROM = 9, 5
AROUND = timedelta(days=14)
LABEL = "label"
LABELS_LATE = timedelta(days=3)
OBJECTIVES = {"label_lag_hours": 12, "latency_p99_ms": 50}
UNITS = {  # feature: factor and offset of the other unit
    "temp": (5 / 9, -32 * 5 / 9),
    "dewp": (5 / 9, -32 * 5 / 9),
    "pressure": (0.02953, 0.0),
    "visib": (1.609, 0.0),
    "wind_speed": (0.447, 0.0),
}
EMPTIED = ["temp", "humid", "carrier", "dest", "pressure"]
RENAMED = ["carrier", "dest", "origin"]
RENAMED_SHARE = 0.3
KINDS = ["unit swap", "column emptied", "new category", "label delay", "two at once"]


@dataclass(frozen=True)
class Fault:
    """What is done to the rows of the broken days; `causes` are the features, or `label`, that it touches."""

    kind: str
    causes: tuple[str, ...]

    def breaks(self, rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Give the rows with the fault in them."""
        rows = rows.copy()
        for number, cause in enumerate(self.causes):
            kind = (
                self.kind if len(self.causes) == 1 else KINDS[number]
            )  # two at once: a unit and an emptied column
            if kind == "unit swap":
                factor, offset = UNITS[cause]
                rows[cause] = rows[cause] * factor + offset
            elif kind == "column emptied":
                rows[cause] = None if rows[cause].dtype == object else np.nan
            elif kind == "new category":
                rows.loc[rng.random(len(rows)) < RENAMED_SHARE, cause] = "NEW"
            else:
                rows["label_time"] += LABELS_LATE
        return rows


@dataclass(frozen=True)
class Replay:
    """Days of flights in the order of their departure, and the reference that they are held against."""

    name: str
    start: pd.Timestamp
    rows: pd.DataFrame
    reference: pd.DataFrame


def faults(n: int, rng: np.random.Generator) -> list[Fault]:
    """Draw as many faults of each kind as there are of the others."""
    drawn = []
    for number in range(n):
        kind = KINDS[number % len(KINDS)]
        unit, emptied = str(rng.choice(list(UNITS))), str(rng.choice(EMPTIED))
        while emptied == unit:
            emptied = str(rng.choice(EMPTIED))
        causes = {
            "unit swap": (unit,),
            "column emptied": (emptied,),
            "new category": (str(rng.choice(RENAMED)),),
            "label delay": (LABEL,),
            "two at once": (unit, emptied),
        }
        drawn.append(Fault(kind, causes[kind]))
    return drawn


def replays(flights: pd.DataFrame, n: int) -> Iterator[Replay]:
    """Cut the year into `n` stretches that begin at different days."""
    first, last = flights.event_time.min().normalize() + AROUND, flights.event_time.max().normalize() - AROUND
    for number in range(n):
        start = first + (last - timedelta(days=DAYS + 1) - first) * number / max(n - 1, 1)
        start = start.normalize()
        end = start + timedelta(days=DAYS)
        at = flights.event_time
        around = ((at >= start - AROUND) & (at < start)) | ((at >= end) & (at < end + AROUND))
        within = (at >= start) & (at < end + timedelta(days=1))
        yield Replay(f"week-{number}", start, flights[within], flights[around])


def with_answers(flights: pd.DataFrame, trained: Any) -> pd.DataFrame:
    """Add what the champion answers to each flight."""
    from driftline.demo.flights import INPUTS, LATE, ON_TIME
    from inference.runtime.session import OnnxSession

    session = OnnxSession(trained.model_path.read_bytes())
    feed = {
        name: flights[name].fillna("").to_numpy(object).reshape(-1, 1)
        if name in INPUTS.strings
        else flights[name].to_numpy(np.float32).reshape(-1, 1)
        for name in INPUTS.names
    }
    [probabilities] = session.run(feed, ["probabilities"])
    late = probabilities[:, trained.metadata.classes.index(LATE)].astype(float)
    return flights.assign(probability=late, prediction=np.where(late >= 0.5, LATE, ON_TIME))


def run(
    replay: Replay,
    fault: Fault | None,
    trained: Any,
    rng: np.random.Generator,
    messages: MessagesOfFaults | None = None,
) -> "list[Incident]":
    """Send a replay day by day, its labels as they come, and give the incidents that were opened.

    With `messages` they are sent by every kind of channel, and counted there.
    """
    from driftline.base.accounts.models import Project
    from monitors.alerts.incidents.handling import handle_transition
    from monitors.alerts.models import Incident
    from monitors.rules.models import Transition

    broken = "clean" if fault is None else fault.kind.replace(" ", "-")
    project = Project.objects.create(slug=f"{replay.name}-{broken}", name=replay.name)
    model = set_up(project, replay, trained)
    rows = replay.rows
    if fault is not None:
        is_broken = rows.event_time >= replay.start + timedelta(days=BROKEN_FROM)
        rows = with_answers(
            pd.concat([rows[~is_broken], fault.breaks(rows[is_broken], rng)]).sort_values("event_time"),
            trained,
        )
    for number in range(DAYS + 1):
        begin = replay.start + timedelta(days=number)
        end = begin + timedelta(days=1)
        send_day(model, rows[(rows.event_time >= begin) & (rows.event_time < end)])
        send_labels(model, rows[(rows.label_time >= begin) & (rows.label_time < end)])
    if messages is not None:
        messages.add(notify_of_all(model))
    for transition in Transition.objects.filter(model=model, alerts_done_at=None).order_by("pk"):
        handle_transition(transition.pk)
    return list(
        Incident.objects.filter(model=model).select_related("lead__rule", "lead__model").order_by("pk")
    )


def set_up(project: Any, replay: Replay, trained: Any) -> "Model":
    """Make the model with its champion, its reference and the default rules."""
    import msgspec

    from driftline.demo.flights import INPUTS
    from inference.registry.files.datasets import store_reference
    from inference.registry.lineage import Lineage
    from inference.registry.services import create_model
    from inference.registry.versions import upload_version
    from monitors.definitions.models import Reference
    from monitors.definitions.services import build_reference
    from monitors.rules.defaults import add_default_rules

    model = create_model(project=project, name="flights", task="binary", actor="bench", objectives=OBJECTIVES)
    upload_version(
        model=model, stream=BytesIO(trained.model_path.read_bytes()), actor="bench", lineage=Lineage(),
        metadata=msgspec.json.encode(trained.metadata),
    )  # fmt: skip
    known = replay.reference[replay.reference.label.notna()].rename(columns={"event_time": "timestamp"})
    stream = BytesIO()
    known[[*INPUTS.names, "timestamp", "label", "prediction", "probability"]].to_parquet(stream, index=False)
    stream.seek(0)
    store_reference(
        model=model, version="1", stream=stream, content_type="application/vnd.apache.parquet", actor="bench"
    )
    build_reference(Reference.objects.get(model=model).pk)
    add_default_rules(project=project, model=model, actor="bench")
    return model


def send_day(model: "Model", rows: pd.DataFrame) -> None:
    from driftline.base.periods import rfc3339
    from driftline.demo.flights import INPUTS
    from inference.prediction_log.rows.sent_items import SentPrediction
    from tests.worlds.approvals import log

    values = rows[INPUTS.names].astype(object).where(rows[INPUTS.names].notna(), None).to_dict("records")
    told = zip(rows.id, rows.event_time, rows.prediction, rows.probability, values, strict=True)
    log(
        model,
        [
            SentPrediction(
                id=key, timestamp=rfc3339(at.to_pydatetime()), version="1", features=features,
                prediction=prediction, probabilities=probability, latency_ms=2.0,
            )
            for key, at, prediction, probability, features in told
        ],
    )  # fmt: skip


def send_labels(model: "Model", rows: pd.DataFrame) -> None:
    from inference.prediction_log.items import LabelItem
    from tests.worlds.approvals import label, work

    known = rows[rows.label.notna()]
    label(
        model,
        [
            LabelItem(id=key, label=truth, timestamp=at.to_pydatetime())
            for key, truth, at in zip(known.id, known.label, known.label_time, strict=True)
        ],
    )
    work(model)


def measure(n: int, seed: int, folder: Path, messages: MessagesOfFaults | None) -> dict[str, Any]:
    from driftline.demo.flights import shift_to, train_champion
    from tests.performance.demo_data import build_flights

    shift = shift_to(date.today() - timedelta(days=120))  # all of the year lies in the past
    flights = build_flights()
    flights["id"] = [f"flight-{row}" for row in range(len(flights))]
    trained = train_champion(folder / "champion", flights, shift)
    flights = with_answers(
        flights.assign(event_time=flights.event_time + shift, label_time=flights.label_time + shift), trained
    )
    rng = np.random.default_rng(seed)
    lines = []
    for replay, fault in zip(replays(flights, n), faults(n, rng), strict=True):
        clean = run(replay, None, trained, rng)
        found = run(replay, fault, trained, rng, messages)
        lines.append(
            {
                "week": f"{replay.start:%d %b}",
                "kind": fault.kind,
                "causes": list(fault.causes),
                "incidents": [incident.rule.name for incident in found],
                "named": named(fault, [incident.causes for incident in found]),
                "named_at_once": named(fault, [causes_at_first(incident) for incident in found]),
                "clean": [incident.title for incident in clean],
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    return {"replays": n, "seed": seed, "lines": lines}


def named(fault: Fault, causes: list[list[dict[str, Any]]]) -> bool:
    """Tell whether the first two causes of some incident name all that is broken."""
    firsts = [{cause.get("feature") for cause in of_one[:2]} for of_one in causes]
    return any(set(fault.causes) <= first for first in firsts)


def causes_at_first(incident: "Incident") -> list[dict[str, Any]]:
    """Give the causes that the first notification of an incident names: those of the window that opened it."""
    first = incident.alerts.order_by("pk").first()
    return list(first.detail.get("causes") or []) if first else []


def show(results: dict[str, Any]) -> None:
    lines = results["lines"]
    print(f"\nfaults: {len(lines)} of {DAYS} days of flights, seed {results['seed']}")
    print(
        f"  {'kind':<18}{'noticed':>10}{'cause in the first 2':>24}{'at once':>12}{'incidents a fault':>20}"
    )
    for kind in [*KINDS, "all"]:
        those = [line for line in lines if kind in (line["kind"], "all")]
        noticed = sum(bool(line["incidents"]) for line in those)
        right = sum(line["named"] for line in those)
        at_once = sum(line["named_at_once"] for line in those)
        opened = sum(len(line["incidents"]) for line in those) / max(len(those), 1)
        print(
            f"  {kind:<18}{noticed:>4} of {len(those):<3}{right:>17} of {len(those):<4}"
            f"{at_once:>5} of {len(those):<4}{opened:>17.2f}"
        )
    clean = Counter(title.split(": ", 1)[1].split(" (")[0] for line in lines for title in line["clean"])
    print(f"  incidents of {len(lines)} clean replays: {sum(clean.values())} {dict(clean)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--replays", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--channels", action="store_true", help="send the messages by every kind of channel")
    options = parser.parse_args()
    messages = MessagesOfFaults() if options.channels else None
    with services_with_django() as (folder, _):
        results = measure(options.replays, options.seed, folder, messages)
    show(results)
    if messages is not None:
        messages.show()
    if options.json:
        options.json.write_text(json.dumps({"faults": results}, indent=2))


if __name__ == "__main__":
    main()
