"""Champion and challenger on the same requests: how many labelled pairs are ripe, and what they show."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from driftline.base.clock import now
from driftline.base.periods import DAY_US
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.frames import LogFrame, PairedFrame
from inference.prediction_log.queries.requests import requests_of
from inference.prediction_log.queries.selectors import has_packed_before, paired_frame
from inference.prediction_log.storage.partitions import oldest_week
from inference.registry.models import Model, Version
from inference.signatures import Signature
from monitors.definitions.outcomes import coded
from monitors.definitions.segment_masks import declared_segments, segment_masks
from monitors.metrics.context import label_lag
from monitors.stats.promotion.gate import GatePolicy
from monitors.stats.promotion.paired import PairedComparison, compare_pairs
from monitors.stats.promotion.sequential import Looks, tail_at
from monitors.workflows.judging.custom_metrics import compare_custom
from monitors.workflows.models import Workflow

JUDGED = {
    "binary": ("log_loss", "roc_auc", "accuracy", "brier"),
    "multiclass": ("log_loss", "accuracy", "brier"),
    "regression": ("rmse", "mae"),
}
"""Metrics that a gate can take as its objective, the default first."""
CONFIDENCE = 0.9
"""How sure the intervals of all looks together are: a challenger that is no better passes with a chance of 5%."""


@dataclass(frozen=True)
class PairsWanted:
    """The ripe pairs of two versions from event time `since` on, and before `until` where it is given."""

    model: Model
    champion: Version
    challenger: Version
    since: datetime
    until: datetime | None = None

    @cached_property
    def label_lag(self) -> timedelta:
        """How long the labels of the model take; a pair is ripe once it is so old."""
        return label_lag(self.model)

    @property
    def ripe_until(self) -> datetime:
        """Up to which event time these pairs are ripe."""
        ripe = event_now(model=self.model, now=now()) - self.label_lag
        return ripe if self.until is None else min(ripe, self.until)


def ripe_until(model: Model) -> datetime:
    """Return up to which event time most labels have had their time to come.

    Later pairs have only the labels that come early, which are not a fair sample.
    """
    return event_now(model=model, now=now()) - label_lag(model)


def count_labelled(wanted: PairsWanted) -> int:
    """Count the ripe pairs that have a label; reads the columnar log only where narrow rows are gone."""
    until = wanted.ripe_until
    if until <= wanted.since:
        return 0
    if has_packed_before(
        model=wanted.model,
        version_id=wanted.challenger.pk,
        role="shadow",
        start=wanted.since,
        end=until,
        week=oldest_week(),
    ):
        return int(_pairs(wanted, until).champion.is_labelled.sum())
    period, model_id = [wanted.since, until], wanted.model.pk
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT_SQL, [wanted.champion.pk, model_id, *period, model_id, wanted.challenger.pk, *period]
        )
        (count,) = cursor.fetchone()
    return int(count)


_COUNT_SQL = """
SELECT count(*)
FROM inference_predictionrow AS copied
JOIN inference_predictionrow AS answered
  ON answered.model_id = copied.model_id AND answered.prediction_id = copied.prediction_id
 AND answered.role = 'champion' AND answered.version_id = %s
JOIN (
    SELECT DISTINCT coalesce(nullif(prediction_id, ''), given_id) AS prediction_id FROM inference_label
    WHERE model_id = %s AND is_current AND prediction_time >= %s AND prediction_time < %s
) AS label ON label.prediction_id = copied.prediction_id
WHERE copied.model_id = %s AND copied.version_id = %s AND copied.role = 'shadow'
  AND copied.event_time >= %s AND copied.event_time < %s
"""


def _pairs(wanted: PairsWanted, until: datetime) -> PairedFrame:
    return paired_frame(
        model=wanted.model,
        champion_id=wanted.champion.pk,
        challenger_id=wanted.challenger.pk,
        start=wanted.since,
        end=until,
    )


def labelled_champion_rows(wanted: PairsWanted) -> LogFrame:
    """Read the champion's half of the ripe pairs that have a label."""
    champion = _pairs(wanted, wanted.ripe_until).champion
    return champion.take(champion.is_labelled)


def compare_wanted(
    wanted: PairsWanted, signature: Signature, workflow: Workflow, *, confidence: float = CONFIDENCE
) -> PairedComparison | None:
    """Compare both versions on all ripe pairs; None where none has the scores that the metrics judge.

    The intervals hold at all looks from the workflow's first number of pairs to its largest together.
    """
    until = wanted.ripe_until
    if until <= wanted.since:
        return None
    pairs = _pairs(wanted, until)
    if not len(pairs.champion):
        return None
    scores = scores_of(pairs.champion, signature), scores_of(pairs.challenger, signature)
    usable = np.isfinite(scores[0].reshape(len(scores[0]), -1)).all(1)
    usable &= np.isfinite(scores[1].reshape(len(scores[1]), -1)).all(1)
    if not usable.any():
        return None
    champion, challenger = pairs.champion.take(usable), pairs.challenger.take(usable)
    looks = Looks(workflow.pairs, workflow.max_pairs)
    comparison = compare_pairs(
        task=signature.task,
        y=coded(champion.label, signature),
        champion=scores[0][usable],
        challenger=scores[1][usable],
        champion_answer=coded(champion.prediction, signature),
        challenger_answer=coded(challenger.prediction, signature),
        block=champion.times_us // DAY_US,
        champion_latency_ms=champion.latency_us / 1e3,
        challenger_latency_ms=challenger.latency_us / 1e3,
        requests=requests_of(champion.ids, champion.latency_us),
        segments=dict(segment_masks(declared_segments(wanted.model), champion)),
        confidence=confidence,
        looks=looks,
    )
    tail = tail_at(comparison.n_labelled, confidence, looks)
    own = compare_custom(wanted.model, PairedFrame(champion, challenger), signature, tail=tail)
    return replace(comparison, metrics=comparison.metrics | own)


def scores_of(frame: LogFrame, signature: Signature) -> NDArray[np.float64]:
    """The scores that the metrics judge: probabilities, or the predicted number."""
    if signature.task == "regression":
        return np.asarray(frame.prediction, np.float64)
    if frame.probability is None:
        width = (len(signature.classes),) if signature.task == "multiclass" else ()
        return np.full((len(frame), *width), np.nan)
    return frame.probability


def policy_of(model: Model, workflow: Workflow, task: str) -> GatePolicy:
    """What the gate asks: the workflow's settings over the model's objectives over the defaults."""
    declared = (model.objectives.get("quality") or {}).get("metric")
    settings = {
        "objective": declared if declared in JUDGED[task] else JUDGED[task][0],
        "p99_cap_ms": model.objectives.get("latency_p99_ms"),
        **workflow.gate,
    }
    return GatePolicy(min_labelled=workflow.pairs, max_labelled=workflow.max_pairs, **settings)
