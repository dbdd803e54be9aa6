"""A canary against the champion beside it: they answer different requests, so their evidence is unpaired."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from driftline.base.clock import now
from driftline.base.periods import DAY_US, day_of, floor, to_us
from inference.prediction_log.models import ANSWERING_ROLES, PredictionChunk, PredictionRole
from inference.prediction_log.queries.canary_split import Split, split_of
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.requests import requests_of
from inference.prediction_log.queries.selectors import first_answered, frame_of
from inference.registry.models import DeploymentChange, Model, Version
from inference.registry.selectors import get_version, signature_of
from inference.serving.counts.metrics import ANSWERED
from inference.signatures import Signature
from monitors.definitions.outcomes import coded
from monitors.metrics.traffic.request_log import request_outcomes
from monitors.stats.promotion.gate import GateVerdict
from monitors.stats.promotion.unpaired import Answered, UnpairedComparison, compare_sides, judge_sides
from monitors.workflows.judging.pairs import policy_of, ripe_until, scores_of
from monitors.workflows.models import Workflow

CONFIDENCE = 0.95
MAX_ROWS = 200_000  # newest first, of both sides together: a canary of one percent leaves 2,000 of them


@dataclass(frozen=True)
class CanaryPeriod:
    """When a version answered a share, beside which champion; `end` is None while it still does."""

    champion: Version
    canary: Version
    start: datetime
    end: datetime | None

    def within(self, start: datetime | None, end: datetime | None) -> "CanaryPeriod | None":
        """Return the part of it that lies in `[start, end)`; None is no bound. None where no part does."""
        first = max(self.start, start) if start else self.start
        last = min((moment for moment in (self.end, end) if moment), default=None)
        return replace(self, start=first, end=last) if last is None or first < last else None


@dataclass(frozen=True)
class CanaryEvidence:
    """What both sides did in `[start, end)` of event time, and what follows from it."""

    period: CanaryPeriod
    start: datetime
    end: datetime
    found: UnpairedComparison
    answers: dict[str, tuple[float, float]]  # class: the champion's share of it, the canary's
    verdict: GateVerdict
    split: Split | None


def canary_period(model: Model, version: Version) -> CanaryPeriod | None:
    """Find the newest period in which a version was the canary with one weight; None where it never was."""
    changes = list(DeploymentChange.objects.filter(model=model).order_by("generation"))
    for place in range(len(changes) - 1, -1, -1):
        change = changes[place]
        if change.kind == "canary" and (change.after.get("canary") or {}).get("version") == version.version:
            champion = get_version(model=model, version=change.after["champion"])
            return CanaryPeriod(
                champion, version, change.event_time, _end(changes[place + 1 :], change.after["canary"])
            )
    return _logged_period(model, version)


def _logged_period(model: Model, version: Version) -> CanaryPeriod | None:
    """The period of a canary on another server, which only the log knows."""
    start = first_answered(version, role="canary")
    champion = model.deployment.champion
    return CanaryPeriod(champion, version, start, None) if start and champion else None


def _end(later: Sequence[DeploymentChange], canary: dict[str, Any]) -> datetime | None:
    ended = next((change for change in later if change.after.get("canary") != canary), None)
    return ended.event_time if ended else None


def canary_evidence(model: Model, period: CanaryPeriod, *, confidence: float = CONFIDENCE) -> CanaryEvidence:
    """Compare both sides on the newest rows of the period, at most `MAX_ROWS`; intervals hold with `confidence`."""
    end = period.end or event_now(model=model, now=now())
    end += timedelta(microseconds=1)  # the newest event belongs to it
    start = max(period.start, newest_start(model, period, end, MAX_ROWS))
    signature = signature_of(period.champion)
    champion = frame_of(model=model, start=start, end=end, version_id=period.champion.pk)
    canary = frame_of(
        model=model, start=start, end=end, version_id=period.canary.pk, role=PredictionRole.CANARY
    )
    counted = request_outcomes(model=model, start=floor(start, "hour"), end=end)
    found = compare_sides(
        task=signature.task,
        champion=_answered(
            model, champion, signature, counted.get(("champion", period.champion.version), Counter())
        ),
        challenger=_answered(
            model, canary, signature, counted.get(("canary", period.canary.version), Counter())
        ),
        confidence=confidence,
    )
    workflow = Workflow.of(model)
    split = split_of(model.deployment) if period.end is None else None
    policy = policy_of(model, workflow, model.task)
    return CanaryEvidence(
        period, start, end, found, {} if signature.task == "regression" else _answer_shares(champion, canary),
        judge_sides(found, policy, is_mismatch=split is not None and split.is_mismatch), split,
    )  # fmt: skip


def newest_start(model: Model, period: CanaryPeriod, end: datetime, most: int) -> datetime:
    """Return from when on a period holds the newest `most` rows of both sides, so that no older chunk is read."""
    chunks = PredictionChunk.objects.filter(
        model=model, version__in=[period.champion, period.canary], role__in=ANSWERING_ROLES,
        end__gte=period.start, start__lt=end, day__gte=day_of(period.start),
    ).order_by("-end")  # fmt: skip
    start, rows = period.start, 0
    for chunk_start, count in chunks.values_list("start", "rows").iterator():
        rows += count
        if rows >= most:
            return chunk_start
    return start


def _answered(model: Model, frame: LogFrame, signature: Signature, outcomes: Counter[str]) -> Answered:
    """Write one side as the comparison takes it; a label that has not had its time to come is none."""
    scores = scores_of(frame, signature)
    labels = coded(frame.label, signature)
    is_ripe = frame.times_us < to_us(ripe_until(model))
    is_scored = np.isfinite(scores) if scores.ndim == 1 else np.isfinite(scores).all(1)
    requests = outcomes.total()
    return Answered(
        y=np.where(is_ripe & is_scored, labels, np.nan),
        score=scores,
        answer=coded(frame.prediction, signature),
        block=frame.times_us // DAY_US,
        latency_ms=frame.latency_us / 1e3,
        request=requests_of(frame.ids, frame.latency_us),
        requests=requests,
        failed=requests - outcomes[ANSWERED],
    )


def _answer_shares(champion: LogFrame, canary: LogFrame) -> dict[str, tuple[float, float]]:
    """Return how often each side gave each answer, the champion's most frequent first."""
    counts = [Counter(map(str, frame.prediction)) for frame in (champion, canary)]
    rows = [max(len(frame), 1) for frame in (champion, canary)]
    names = [name for name, _ in (counts[0] + counts[1]).most_common()]
    return {name: (counts[0][name] / rows[0], counts[1][name] / rows[1]) for name in names}
