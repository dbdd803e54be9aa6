"""How two versions answered the same requests, whether their labels have come or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.base.clock import now
from driftline.base.periods import DAY_US, day_of, from_us
from inference.prediction_log.models import PredictionChunk, PredictionRole
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.frames import LogFrame, PairedFrame
from inference.prediction_log.queries.selectors import paired_frame
from inference.signatures import Signature
from monitors.workflows.judging.pairs import PairsWanted, scores_of

MAX_PAIRS = 20_000
SAMPLE = 20
REGRESSION_TOLERANCE = 0.1  # of the champion's standard deviation: the gate's own measure of disagreement
BINS = 20


@dataclass(frozen=True)
class AnswerPair:
    """How often the champion answered one class and the challenger one, perhaps another."""

    champion: str
    challenger: str
    pairs: int

    @property
    def agrees(self) -> bool:
        return self.champion == self.challenger


@dataclass(frozen=True)
class Disagreement:
    """One request that both answered, and differently; scores are None where a version gave none."""

    id: str
    time: datetime
    champion: Any
    challenger: Any
    champion_score: float | None
    challenger_score: float | None
    label: str | None


@dataclass(frozen=True)
class Differences:
    """Challenger minus champion, over all pairs; `histogram` holds the share of pairs between `edges`."""

    mean: float
    mean_absolute: float
    p5: float
    p50: float
    p95: float
    edges: list[float]
    histogram: list[float]


@dataclass(frozen=True)
class Latencies:
    """The latencies of the pairs in ms, and the median and p99 of their paired differences."""

    champion_p50: float
    champion_p99: float
    challenger_p50: float
    challenger_p99: float
    difference_p50: float
    difference_p99: float


@dataclass(frozen=True)
class Agreement:
    """Everything that pairs show without labels; `scored` names what the differences are of."""

    pairs: int
    agreed: int
    labelled: int
    start: datetime
    end: datetime
    answers: list[AnswerPair]
    scored: str
    differences: Differences | None
    latencies: Latencies | None
    by_day: list[tuple[datetime, int, int]]  # day, pairs, agreed
    disagreeing: list[Disagreement]

    @property
    def share(self) -> float:
        return self.agreed / self.pairs


def agreement_of(wanted: PairsWanted, signature: Signature) -> Agreement | None:
    """Compare what both versions answered on their newest pairs, at most `MAX_PAIRS`; None where there is no pair."""
    pairs = newest_pairs(wanted)
    return compare_answers(pairs, signature) if len(pairs.champion) else None


def newest_pairs(wanted: PairsWanted) -> PairedFrame:
    """Read the newest requests that both versions answered, labelled or not, at most `MAX_PAIRS`."""
    end = event_now(model=wanted.model, now=now()) + timedelta(seconds=1)
    pairs = paired_frame(
        model=wanted.model,
        champion_id=wanted.champion.pk,
        challenger_id=wanted.challenger.pk,
        start=max(wanted.since, _newest_start(wanted, end)),
        end=end,
    )
    places = np.arange(len(pairs.champion))[-MAX_PAIRS:]
    return PairedFrame(pairs.champion.take(places), pairs.challenger.take(places))


def _newest_start(wanted: PairsWanted, end: datetime) -> datetime:
    """Find the time from which on at least `MAX_PAIRS` rows of the challenger lie, so that no older chunk is read."""
    chunks = PredictionChunk.objects.filter(
        model=wanted.model,
        version=wanted.challenger,
        role=PredictionRole.SHADOW,
        end__gte=wanted.since,
        day__gte=day_of(wanted.since),
    ).order_by("-end")
    start, rows = end, 0
    for chunk_start, count in chunks.values_list("start", "rows").iterator():
        start, rows = min(start, chunk_start), rows + count
        if rows >= MAX_PAIRS:
            break
    return start


def compare_answers(pairs: PairedFrame, signature: Signature) -> Agreement:
    """Compare the two halves of at least one pair."""
    champion, challenger = pairs.champion, pairs.challenger
    agrees = _agrees(champion, challenger, signature.task)
    gap, scored = _score_gap(champion, challenger, signature)
    return Agreement(
        pairs=len(champion),
        agreed=int(agrees.sum()),
        labelled=int(champion.is_labelled.sum()),
        start=from_us(int(champion.times_us[0])),
        end=from_us(int(champion.times_us[-1])),
        answers=_answers(champion, challenger) if signature.task != "regression" else [],
        scored=scored,
        differences=_differences(gap),
        latencies=_latencies(champion.latency_us / 1e3, challenger.latency_us / 1e3),
        by_day=_by_day(champion, agrees),
        disagreeing=_sample(champion, challenger, ~agrees, gap, signature),
    )


def _agrees(champion: LogFrame, challenger: LogFrame, task: str) -> NDArray[np.bool_]:
    if task != "regression":
        return np.asarray(champion.prediction == challenger.prediction, bool)
    answers = np.asarray(champion.prediction, np.float64), np.asarray(challenger.prediction, np.float64)
    tolerance = REGRESSION_TOLERANCE * float(np.nanstd(answers[0]))
    return np.asarray(np.abs(answers[0] - answers[1]) <= tolerance)


def _score_gap(
    champion: LogFrame, challenger: LogFrame, signature: Signature
) -> tuple[NDArray[np.float64], str]:
    """Challenger minus champion a pair, and of what; of several classes the champion's answer is looked at."""
    scores = scores_of(champion, signature), scores_of(challenger, signature)
    if signature.task == "regression":
        return scores[1] - scores[0], "the predicted number"
    if signature.task == "binary":
        return scores[1] - scores[0], f"the probability of {signature.positive_class}"
    places: Mapping[str, int] = {name: place for place, name in enumerate(signature.classes)}
    answered = np.array([places.get(name, 0) for name in champion.prediction])
    rows = np.arange(len(answered))
    return scores[1][rows, answered] - scores[0][rows, answered], "the probability of the champion's answer"


def _differences(gap: NDArray[np.float64]) -> Differences | None:
    known = gap[np.isfinite(gap)]
    if not known.size:
        return None
    reach = float(np.abs(known).max()) or 1.0
    edges = np.linspace(-reach, reach, BINS + 1)
    counts, _ = np.histogram(known, edges)
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    return Differences(
        mean=float(known.mean()), mean_absolute=float(np.abs(known).mean()), p5=float(low), p50=float(middle),
        p95=float(high), edges=edges.tolist(), histogram=(counts / known.size).tolist(),
    )  # fmt: skip


def _latencies(champion: NDArray[np.float64], challenger: NDArray[np.float64]) -> Latencies | None:
    known = np.isfinite(champion) & np.isfinite(challenger)
    if not known.any():
        return None
    pairs = (champion[known], challenger[known], (challenger - champion)[known])
    return Latencies(*(float(value) for values in pairs for value in np.quantile(values, [0.5, 0.99])))


def _answers(champion: LogFrame, challenger: LogFrame) -> list[AnswerPair]:
    """Count each combination of answers, the most frequent first."""
    both = np.array([champion.prediction.astype(str), challenger.prediction.astype(str)])
    names, counts = np.unique(both, axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [AnswerPair(str(names[0, i]), str(names[1, i]), int(counts[i])) for i in order]


def _by_day(champion: LogFrame, agrees: NDArray[np.bool_]) -> list[tuple[datetime, int, int]]:
    days, which, counts = np.unique(champion.times_us // DAY_US, return_inverse=True, return_counts=True)
    agreed = np.bincount(which, weights=agrees)
    return [
        (from_us(int(day) * DAY_US), int(n), int(same))
        for day, n, same in zip(days, counts, agreed, strict=True)
    ]


def _sample(
    champion: LogFrame,
    challenger: LogFrame,
    differs: NDArray[np.bool_],
    gap: NDArray[np.float64],
    signature: Signature,
) -> list[Disagreement]:
    """The disagreeing pairs whose scores lie furthest apart; without scores the newest."""
    places = np.flatnonzero(differs)
    far = np.nan_to_num(np.abs(gap[places]), nan=-1.0)
    chosen = places[np.lexsort((-places, -far))][:SAMPLE]
    scores = scores_of(champion, signature), scores_of(challenger, signature)
    return [
        Disagreement(
            id=str(champion.ids[i]),
            time=from_us(int(champion.times_us[i])),
            champion=champion.prediction[i],
            challenger=challenger.prediction[i],
            champion_score=_plain(scores[0], i),
            challenger_score=_plain(scores[1], i),
            label=champion.label[i],
        )
        for i in chosen
    ]


def _plain(scores: NDArray[np.float64], place: int) -> float | None:
    """One score as a number; of several classes the highest probability."""
    value = float(np.max(scores[place]))
    return value if np.isfinite(value) else None
