"""What champion and challenger did beside each other in one step of a rollout."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.base.clock import now
from driftline.base.periods import floor, following
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.canary_split import SETTLING, Split, split_of
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.requests import requests_of
from inference.prediction_log.queries.selectors import count_answered, frame_of
from inference.registry.models import Deployment, Model, Version
from inference.registry.selectors import signature_of
from inference.serving.counts.metrics import ANSWERED, INVALID
from inference.signatures import Signature
from monitors.metrics.traffic.request_log import request_outcomes
from monitors.stats.promotion.guards import Events, distance_of_scores
from monitors.workflows.judging.agreement import newest_pairs
from monitors.workflows.judging.canary_evidence import CanaryPeriod, newest_start
from monitors.workflows.judging.pairs import PairsWanted, scores_of
from monitors.workflows.models import Rollout

MAX_ROWS = 40_000
"""The newest of both sides together: a check costs the same however long the step lasts."""


CHALLENGER_ROWS = "challenger_rows"
"""What `Rollout.counted` calls the rows that the challenger had answered when the step began."""


@dataclass(frozen=True, eq=False)
class ObservedSide:
    """The rows that one version answered: its scores, its answers by class, and latencies in ms (NaN: not known), one
    a request in the order of time.

    Of several classes the score is the highest probability; of a regression it is the answer, and there is no class.
    """

    scores: NDArray[np.float64]
    answers: Counter[str]
    latency_ms: NDArray[np.float64]

    @property
    def finite(self) -> NDArray[np.float64]:
        return self.scores[np.isfinite(self.scores)]


@dataclass(frozen=True)
class Observed:
    """A step up to now: requests with their failures, the rows that the challenger answered, the newest rows of both
    sides, and the split of keys."""

    requests: Events
    rows: int
    champion: ObservedSide
    challenger: ObservedSide
    split: Split | None

    @property
    def answered(self) -> dict[str, int]:
        """How many `rows` the challenger answered, how many of the newest `keys` sent them, in how many `requests`.

        Where another server answers, which counts no requests here, each row is one.
        """
        is_counted = self.requests.champion or self.requests.challenger
        return {
            "rows": self.rows,
            "keys": self.split.canary if self.split else 0,
            "requests": self.requests.challenger if is_counted else self.rows,
        }


def observe(rollout: Rollout) -> Observed:
    """Read what both sides did since the weight of a rollout was set."""
    run = rollout.run
    model, champion, challenger = run.model, run.champion, run.challenger
    assert challenger is not None
    signature = signature_of(champion)
    end = event_now(model=model, now=now()) + timedelta(microseconds=1)  # the newest event belongs to it
    period = CanaryPeriod(champion, challenger, rollout.events_since + timedelta(microseconds=1), None)
    start = max(period.start, newest_start(model, period, end, MAX_ROWS))
    sides = [
        _side(frame_of(model=model, start=start, end=end, version_id=version.pk, role=role), signature)
        for version, role in ((champion, PredictionRole.CHAMPION), (challenger, PredictionRole.CANARY))
    ]
    deployment = Deployment.objects.select_related("canary", "model").get(model=model)
    return Observed(
        requests_since(rollout),
        rows_since(rollout),
        sides[0],
        sides[1],
        split_of(deployment, settling=SETTLING, max_rows=MAX_ROWS),
    )


def _side(frame: LogFrame, signature: Signature) -> ObservedSide:
    scores = scores_of(frame, signature)
    is_regression = signature.task == "regression"
    return ObservedSide(
        scores=_one_score(scores),
        answers=Counter() if is_regression else Counter(map(str, frame.prediction)),
        latency_ms=frame.latency_us[_first_of_each_request(frame)] / 1e3,
    )


def _first_of_each_request(frame: LogFrame) -> NDArray[np.int64]:
    """Return the places of the rows that begin a request, in the order of time: its rows waited together, and would
    count many times."""
    _, places = np.unique(requests_of(frame.ids, frame.latency_us), return_index=True)
    return np.sort(places)


def _one_score(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores if scores.ndim == 1 else scores.max(axis=1, initial=-np.inf)


def counted_requests(model: Model, champion: Version, challenger: Version, since: datetime) -> dict[str, int]:
    """Count the requests of both sides in the hours from that of `since` on, and those that were not answered.

    Malformed requests are left out: all of them count as the champion's, since they are refused before a key decides.
    """
    hour = floor(since, "hour")
    outcomes = request_outcomes(model=model, start=hour, end=following(floor(now(), "hour"), "hour"))
    found = {}
    for side, role, version in (
        ("champion", PredictionRole.CHAMPION, champion),
        ("challenger", PredictionRole.CANARY, challenger),
    ):
        ended = outcomes.get((role, version.version), Counter())
        found[side] = ended.total() - ended[INVALID]
        found[f"{side}_events"] = found[side] - ended[ANSWERED]
    return found


def requests_since(rollout: Rollout) -> Events:
    """Count the requests of both sides since the weight was set, and those that were not answered."""
    run = rollout.run
    assert run.challenger is not None
    counted = counted_requests(run.model, run.champion, run.challenger, rollout.since)
    return Events(**{name: max(count - rollout.counted.get(name, 0), 0) for name, count in counted.items()})


def rows_since(rollout: Rollout) -> int:
    """Count the rows that the challenger answered since the weight was set: a request of many has them all."""
    challenger = rollout.run.challenger
    assert challenger is not None
    rows = count_answered(challenger, role=PredictionRole.CANARY)
    return max(rows - rollout.counted.get(CHALLENGER_ROWS, 0), 0)


def usual_differences(wanted: PairsWanted, signature: Signature) -> dict[str, Any]:
    """Read off the pairs of the shadow how the outputs of both versions differ on the same requests."""
    pairs = newest_pairs(wanted)
    champion, challenger = _side(pairs.champion, signature), _side(pairs.challenger, signature)
    rows = max(len(pairs.champion), 1)
    names = {*champion.answers, *challenger.answers}
    return {
        "pairs": len(pairs.champion),
        "shares": {name: (challenger.answers[name] - champion.answers[name]) / rows for name in sorted(names)},
        "scores": distance_of_scores(champion.finite, challenger.finite, 1.0).value,
    }  # fmt: skip
