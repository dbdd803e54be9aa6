"""How well rows that answer one query are ordered by their scores, from their labels: each row's relevance.

A query counts when at least two of its rows have a label and one of these is relevant (greater than zero); rows
without a label have no place in it. Rows of equal score share their places: gains are averaged over them, as in
scikit-learn's `ndcg_score` (McSherry and Najork, "Computing information retrieval performance measures efficiently in
the presence of tied scores", ECIR 2008), and a relevant one of them counts as the last, as in its
`label_ranking_average_precision_score`.

NDCG: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002, with the
relevance itself as the gain and 1/log2(1 + place) as the discount.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.mergeable.outcomes import NO_LOSSES, Moments, RankingSummary
from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.performance.estimate import Estimate, around

_MAX_RELEVANCE = 1e100  # of a relevance: sums of them must be floats
FIRST = 10  # places that a metric `_at_10` looks at


def summarise_queries(queries: ArrayLike, scores: ArrayLike, relevances: ArrayLike) -> RankingSummary:
    """Summarise labelled rows by the number of the query that each answered; a negative one is none.

    Rows whose score or relevance is no finite number are left out, and so is a query with a negative relevance.

    >>> found = summarise_queries([7, 7, 7, 9, 9], [3, 2, 1, 2, 1], [0, 1, 0, 0, 0])
    >>> found.reciprocal_rank.mean, found.ndcg.n, found.left_out
    (0.5, 1, 1)
    """
    numbers = np.asarray(queries, dtype=np.int64)
    score, relevance = np.asarray(scores, dtype=np.float64), np.asarray(relevances, dtype=np.float64)
    known = (numbers >= 0) & np.isfinite(score) & (np.abs(relevance) < _MAX_RELEVANCE)
    found, query = np.unique(numbers[known], return_inverse=True)
    score, relevance = score[known], relevance[known]
    counts = _counted(query, relevance, len(found))
    rows = counts[query]
    without_gaps = np.cumsum(counts) - 1
    return _summarise(without_gaps[query[rows]], score[rows], relevance[rows], left_out=int((~counts).sum()))


def _counted(query: IntArray, relevance: FloatArray, n: int) -> NDArray[np.bool_]:
    sizes = np.bincount(query, minlength=n)
    relevant = np.bincount(query[relevance > 0], minlength=n)
    negative = np.bincount(query[relevance < 0], minlength=n)
    counted: NDArray[np.bool_] = (sizes > 1) & (relevant > 0) & (negative == 0)
    return counted


def _summarise(query: IntArray, score: FloatArray, relevance: FloatArray, *, left_out: int) -> RankingSummary:
    if not query.size:
        none = NO_LOSSES
        return RankingSummary(none, none, none, none, none, left_out)
    order = np.lexsort((-score, query))
    query, score, relevance = query[order], score[order], relevance[order]
    best = relevance[np.lexsort((-relevance, query))]
    begins = np.diff(query, prepend=-1) != 0
    starts = np.flatnonzero(begins)
    place = np.arange(query.size) - starts[query]  # from 0
    begins[1:] |= score[1:] != score[:-1]
    ties = np.flatnonzero(begins)
    sizes = np.diff(ties, append=query.size)
    last = np.repeat(ties + sizes - 1, sizes)  # of the rows that share a row's score
    gain = np.repeat(np.add.reduceat(relevance, ties) / sizes, sizes)
    relevant = relevance > 0
    rank = place[last] + 1.0
    seen = np.cumsum(relevant) - (np.cumsum(relevant) - relevant)[starts][query]
    precision = np.where(relevant, seen[last] / rank, 0.0)
    first = np.minimum.reduceat(np.where(relevant, rank, np.inf), starts)
    return RankingSummary(
        ndcg=Moments.of(_ndcg(gain, best, place, starts, query.size)),
        ndcg_at_10=Moments.of(_ndcg(gain, best, place, starts, FIRST)),
        average_precision=Moments.of(
            np.add.reduceat(precision, starts) / np.add.reduceat(relevant.astype(float), starts)
        ),
        reciprocal_rank=Moments.of(1 / first),
        hit_at_10=Moments.of((first <= FIRST).astype(np.float64)),
        left_out=left_out,
    )


def _ndcg(gain: FloatArray, best: FloatArray, place: IntArray, starts: IntArray, most: int) -> FloatArray:
    """Divide each query's discounted gain of its first `most` places by that of its best order."""
    discount = np.where(place < most, 1 / np.log2(place + 2), 0.0)
    ratio: FloatArray = np.add.reduceat(gain * discount, starts) / np.add.reduceat(best * discount, starts)
    return ratio


def measure_queries(ranking: RankingSummary) -> dict[str, Estimate]:
    """Measure the means over queries, each with the interval that takes queries as independent."""
    means = {
        "ndcg": ranking.ndcg,
        "ndcg_at_10": ranking.ndcg_at_10,
        "mean_average_precision": ranking.average_precision,
        "mrr": ranking.reciprocal_rank,
        "hit_rate_at_10": ranking.hit_at_10,
    }
    detail = {"queries_left_out": float(ranking.left_out)} if ranking.left_out else {}
    return {name: _mean(moments, detail) for name, moments in means.items()}


def _mean(moments: Moments, detail: dict[str, float]) -> Estimate:
    if not moments.n:
        return Estimate(None, 0, detail=detail)
    found = around(moments.mean, moments.n, moments.standard_error, method="normal", least=0.0, most=1.0)
    return Estimate(found.value, found.n, found.lower, found.upper, found.method, detail)
