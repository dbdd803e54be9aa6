"""Metric points by a plain look at all rows at once: NumPy, SciPy and scikit-learn, no summary, nothing of ours."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

from driftline.base.periods import floor

type Key = tuple[str, str, datetime, str, str, str, str]
"""Metric, span, start, role, version, segment, feature."""

type Found = dict[tuple[str, str], float | None]
"""A value by metric and feature; None where it is undefined."""

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MIN_LATENCIES = 20  # of an hour


@dataclass(frozen=True)
class Row:
    """A prediction with what is known of its label in the end."""

    time: datetime
    version: str
    role: str
    income: float | None
    region: str | None
    prediction: str | float
    probability: float | tuple[float, ...] | None
    latency_ms: float
    label: str | float | None
    label_time: datetime | None


@dataclass(frozen=True)
class Plain:
    """How a model of one task is measured; `classes` are in the order of the probabilities, the positive one last."""

    task: str
    classes: tuple[str, ...]
    reference: Sequence[Row]

    def points(self, rows: Sequence[Row]) -> dict[Key, float | None]:
        """Measure every window and subject that has rows."""
        found: dict[Key, float | None] = {}
        for span, length in (("hour", HOUR), ("day", DAY)):
            for start in {floor(row.time, span) for row in rows}:
                inside = [row for row in rows if start <= row.time < start + length]
                for role, version, segment, some in _subjects(inside, span):
                    measured = self._measure(some, span, is_answer=not version, is_whole=not segment)
                    found |= {
                        (metric, span, start, role, version, segment, feature): value
                        for (metric, feature), value in measured.items()
                    }
        return found

    def _measure(self, rows: list[Row], span: str, *, is_answer: bool, is_whole: bool) -> Found:
        found = self._performance(rows)
        if is_whole:
            found |= _service(rows, HOUR if span == "hour" else DAY)
        if is_whole and is_answer:
            found |= self._labels(rows)
        if span == "day" and is_answer:
            found |= self._drift(rows, is_whole=is_whole)
            found |= _quality(rows, self.reference) if is_whole else {}
        return found

    def _performance(self, rows: list[Row]) -> Found:
        known = [row for row in rows if row.label is not None]
        found: Found = {("label_coverage", ""): len(known) / len(rows)}
        if not known:
            return found
        if self.task == "regression":
            return found | _regression(known)
        truth, answer = ([str(getattr(row, name)) for row in known] for name in ("label", "prediction"))
        found["accuracy", ""] = metrics.accuracy_score(truth, answer)
        return found | (_binary if self.task == "binary" else _multiclass)(self, known, truth, answer)

    def _labels(self, rows: list[Row]) -> Found:
        found: Found = {}
        lags = [(row.label_time - row.time).total_seconds() for row in rows if row.label_time]
        if lags:
            found["label_lag_p50", ""], found["label_lag_p95", ""] = np.quantile(lags, [0.5, 0.95])
        for name in {row.prediction for row in rows} if self.classes else ():
            has_label = [row.label is not None for row in rows if row.prediction == name]
            found["label_coverage_by_class", str(name)] = float(np.mean(has_label))
        return found

    def _drift(self, rows: list[Row], *, is_whole: bool) -> Found:
        """Measure every column, but for the region within a segment: all its rows are of that region."""
        found: Found = {}
        for name, is_number in self._columns().items():
            if name == "region" and not is_whole:
                continue
            usual, seen = _column(self.reference, name), _column(rows, name)
            measured = _numbers_moved(usual, seen) if is_number else _levels_moved(usual, seen)
            found |= {(metric, name): value for metric, value in measured.items()}
        return found

    def _columns(self) -> dict[str, bool]:
        columns = {"income": True, "region": False, "prediction": not self.classes}
        return columns | ({"score": True} if self.classes else {})


def _subjects(rows: list[Row], span: str) -> Iterator[tuple[str, str, str, list[Row]]]:
    """Give role, version, segment and rows: what callers were answered, and each version in its role."""
    apart = {(row.role, row.version) for row in rows}
    whole = [("champion", "", [row for row in rows if row.role == "champion"])]
    whole += [
        (role, version, [row for row in rows if (row.role, row.version) == (role, version)])
        for role, version in apart
    ]
    for role, version, some in whole:
        if some:
            yield role, version, "", some
        if span == "day" and (not version or role != "champion"):
            for region in {row.region for row in some} - {None}:
                yield role, version, f"region:{region}", [row for row in some if row.region == region]


def _service(rows: list[Row], length: timedelta) -> Found:
    volume = {("count", ""): len(rows), ("throughput", ""): len(rows) / length.total_seconds()}
    if length < timedelta(days=1) and len(rows) < MIN_LATENCIES:
        return volume
    p50, p95, p99 = np.quantile([row.latency_ms for row in rows], [0.5, 0.95, 0.99])
    return {**volume, ("latency_p50", ""): p50, ("latency_p95", ""): p95, ("latency_p99", ""): p99}


# -- performance -------------------------------------------------------------------------------------------------------
def _binary(plain: Plain, known: list[Row], truth: list[str], answer: list[str]) -> Found:
    positive = plain.classes[-1]
    y, p = np.array([label == positive for label in truth]), np.array([row.probability for row in known])
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, answer, pos_label=positive, average="binary", zero_division=0
    )
    both = 0 < y.sum() < y.size
    return {
        ("precision", ""): precision, ("recall", ""): recall, ("f1", ""): f1,
        ("roc_auc", ""): metrics.roc_auc_score(y, p) if both else None,
        ("average_precision", ""): metrics.average_precision_score(y, p) if y.any() else None,
        ("log_loss", ""): metrics.log_loss(y, p, labels=[False, True]),
        ("brier", ""): float(np.mean((p - y) ** 2)), ("ece", ""): _calibration_error(p, y),
    }  # fmt: skip


def _multiclass(plain: Plain, known: list[Row], truth: list[str], answer: list[str]) -> Found:
    occurring = sorted({*truth, *answer})
    table = np.array([row.probability for row in known])
    own = [plain.classes.index(name) for name in answer]
    is_own = np.array([[label == name for name in plain.classes] for label in truth])
    right = np.array(truth) == np.array(answer)
    found: Found = {
        ("log_loss", ""): metrics.log_loss(truth, table, labels=list(plain.classes)),
        ("brier", ""): float(((table - is_own) ** 2).sum(axis=1).mean()),
        ("ece", ""): _calibration_error(table[np.arange(len(own)), own], right),
    }
    for kind in ("macro", "weighted"):
        scores = metrics.precision_recall_fscore_support(
            truth, answer, labels=occurring, average=kind, zero_division=0
        )
        prefix = "" if kind == "macro" else "weighted_"
        found[f"{prefix}precision", ""], found[f"{prefix}f1", ""] = scores[0], scores[2]
        if kind == "macro":
            found["recall", ""] = scores[1]
    by_class = metrics.precision_recall_fscore_support(
        truth, answer, labels=occurring, average=None, zero_division=np.nan
    )
    for name, precision, recall, f1 in zip(occurring, *by_class[:3], strict=True):
        for metric, value in (("precision", precision), ("recall", recall), ("f1", f1)):
            found[f"class_{metric}", name] = None if np.isnan(value) else float(value)
    for metric, score in (
        ("roc_auc", metrics.roc_auc_score),
        ("average_precision", metrics.average_precision_score),
    ):
        of_class = {
            name: float(score(is_own[:, place], table[:, place]))
            for place, name in enumerate(plain.classes)
            if 0 < is_own[:, place].sum() < len(truth)
        }
        found |= {(f"class_{metric}", name): of_class.get(name) for name in occurring}
        rows = [truth.count(name) for name in of_class]
        found[metric, ""] = float(np.mean(list(of_class.values()))) if of_class else None
        found[f"weighted_{metric}", ""] = (
            float(np.average(list(of_class.values()), weights=rows)) if of_class else None
        )
    return found


def _calibration_error(p: np.ndarray, came_true: np.ndarray) -> float:
    bins = np.ceil(np.round(p * 10, 5)).clip(1, 10)
    return sum(abs(float((came_true[bins == one] - p[bins == one]).sum())) for one in set(bins)) / p.size


def _regression(known: list[Row]) -> Found:
    y, p = np.array([row.label for row in known]), np.array([row.prediction for row in known])
    sized = y != 0
    relative = np.abs((p - y)[sized] / y[sized])
    return {
        ("mae", ""): metrics.mean_absolute_error(y, p), ("rmse", ""): metrics.root_mean_squared_error(y, p),
        ("mape", ""): float(relative.mean()) if sized.any() else None,
        ("median_absolute_error", ""): metrics.median_absolute_error(y, p),
        ("r2", ""): metrics.r2_score(y, p) if len(set(y)) > 1 else None, ("bias", ""): float(np.mean(p - y)),
    }  # fmt: skip


# -- columns -----------------------------------------------------------------------------------------------------------
def _column(rows: Iterable[Row], name: str) -> list:
    if name != "score":
        return [getattr(row, name) for row in rows]
    return [row.probability if isinstance(row.probability, float) else max(row.probability) for row in rows]


def _quality(rows: list[Row], reference: Sequence[Row]) -> Found:
    usual = [row.income for row in reference if row.income is not None]
    margin = (max(usual) - min(usual)) / 2
    incomes = np.array([row.income for row in rows if row.income is not None], float)
    outside = (incomes < min(usual) - margin) | (incomes > max(usual) + margin)
    far_outside = (incomes < min(usual) - 2 * margin) | (incomes > max(usual) + 2 * margin)
    levels = {row.region for row in reference} | {None}
    return {
        ("missing_share", "income"): np.mean([row.income is None for row in rows]),
        ("missing_share", "region"): np.mean([row.region is None for row in rows]),
        ("wrong_type_share", "income"): 0.0,
        ("wrong_type_share", "region"): 0.0,
        ("unseen_share", "region"): np.mean([row.region not in levels for row in rows]),
        ("out_of_range_share", "income"): outside.sum() / len(rows),
        ("impossible_share", "income"): far_outside.sum() / len(rows),
        **_modes(
            {"income": incomes.tolist(), "region": [row.region for row in rows if row.region is not None]}
        ),
    }


def _modes(columns: dict[str, list]) -> Found:
    return {
        ("mode_share", name): max(Counter(values).values()) / len(values)
        for name, values in columns.items()
        if values
    }


def _numbers_moved(usual: list, seen: list) -> dict[str, float]:
    """Compare two columns of numbers; bins are the reference's tenths, a value that is several of them stands alone."""
    reference, current = (np.array([v for v in side if v is not None], float) for side in (usual, seen))
    edges, times = np.unique(
        np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf"), return_counts=True
    )
    edges = np.union1d(edges, np.nextafter(edges[times > 1], -np.inf))
    counted = [
        np.append(np.bincount(np.searchsorted(edges, side), minlength=edges.size + 1), gaps)
        for side, gaps in ((reference, usual.count(None)), (current, seen.count(None)))
    ]
    moved = _shares_moved(*counted)
    if not reference.size or not current.size:
        return moved | dict.fromkeys(("ks", "wasserstein", "anderson_darling"), 0.0)
    return moved | {
        "ks": stats.ks_2samp(reference, current).statistic,
        "wasserstein": stats.wasserstein_distance(reference, current) / reference.std(),
        "anderson_darling": _anderson_darling(reference, current),
    }


def _levels_moved(usual: list, seen: list) -> dict[str, float]:
    levels = sorted({level for level in usual if level is not None and usual.count(level) > 1})
    counted = [
        np.array(
            [
                *map(side.count, levels),
                sum(v is not None and v not in levels for v in side),
                side.count(None),
            ]
        )
        for side in (usual, seen)
    ]
    return _shares_moved(*counted) | {"chi_square": _chi_square(*counted)}


def _shares_moved(usual: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    used = usual + seen > 0
    r, c = (np.maximum(side[used], 0.5) / np.maximum(side[used], 0.5).sum() for side in (usual, seen))
    shares = [side / side.sum() for side in (usual, seen)]
    return {
        "psi": float(((r - c) * np.log(r / c)).sum()),
        "js": float(jensenshannon(*shares, base=2)),
        "tv": float(np.abs(shares[0] - shares[1]).sum() / 2),
    }


def _anderson_darling(reference: np.ndarray, current: np.ndarray) -> float:
    """Scholz and Stephens' mean over all rows of the weighed squared gap, with midranks for equal values."""
    pooled = np.sort(np.concatenate([reference, current]))

    def middle(side: np.ndarray) -> np.ndarray:
        ordered = np.sort(side)
        left, right = (np.searchsorted(ordered, pooled, side=way) for way in ("left", "right"))
        share: np.ndarray = (left + right) / (2 * side.size)
        return share

    joint = middle(pooled)
    gaps, spread = (middle(reference) - middle(current)) ** 2, joint * (1 - joint)
    return float(np.sqrt(np.divide(gaps, spread, out=np.zeros_like(gaps), where=spread > 0).mean()))


def _chi_square(usual: np.ndarray, seen: np.ndarray) -> float:
    """Pearson's statistic; levels expected fewer than five times on the smaller side count together."""
    table = np.array([usual, seen], float)
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    rare = expected < 5
    pooled = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if expected[rare].sum() == 0:
        return float(stats.chi2_contingency(pooled, correction=False).statistic)
    found = stats.chi2_contingency(pooled, correction=False)
    gaps = np.abs(pooled - found.expected_freq)
    if expected[rare].sum() < 5:  # Yates' correction
        gaps[:, -1] = np.maximum(gaps[:, -1] - 0.5, 0)
    return float((gaps**2 / found.expected_freq).sum())
