"""A regression's error before labels come, learnt from all features: direct loss estimation (DLE, as in NannyML).

Boosted trees learn a row's absolute error from its features and its prediction. They are not taken at their word: rows
that they have not learnt from are put into bins by what they say, and each bin keeps what its rows were off by
(`error_profile.py`). So trees that learnt by heart are put right, squared errors come from the same bins, and a window
is a count of rows a bin, which adds up over days.

Features do not always help: trees may learn what does not come back. They are used only where they explain more of the
errors of rows, out of fold, than bins by the size of the prediction do, by more than one standard error (the rule of
Breiman et al., 1984: the simplest model that is not clearly worse). Rows are compared and not the means of days, which
are mostly chance; but rows of one day resemble each other, so a day stays in one fold and counts once in the standard
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from monitors.stats.boosted_trees import deal_folds, train, train_out_of_fold
from monitors.stats.estimation.day_errors import DayErrors, errors_by_day
from monitors.stats.estimation.error_profile import (
    ErrorProfile,
    estimate_errors,
    expected_losses,
    profile_errors,
)
from monitors.stats.joint.rows import JointEncoding, JointRows, level_shares
from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.performance.estimate import Estimate

MAX_ROWS = 50_000
"""Of the reference that trees learn from, and days are held against."""
MAX_COLUMNS = 200
"""The features that trees learn from at most: a fit takes time by rows times columns."""
FOLDS = 5
ROUNDS = 50


@dataclass(frozen=True, eq=False)
class LearntErrors:
    """What a reference's rows were off by, by the error that trees expect of them.

    `encoding` has the features and their frequent levels, `usual` the number that stands for a missing value of each
    (NaN: the trees have learnt what it means), `days` what its days were off by beyond chance.
    """

    encoding: JointEncoding
    usual: FloatArray
    trees: str
    profile: ErrorProfile
    days: Mapping[str, DayErrors]

    def lacking(self, features: Mapping[str, NDArray[Any]]) -> list[str]:
        """Name the features that rows do not have, or have as another kind: nothing can be said of such rows."""
        comparable = self.encoding.comparable(features)
        return [name for name in self.encoding.levels if name not in comparable]

    def count(self, features: Mapping[str, NDArray[Any]], predicted: NDArray[np.float64]) -> IntArray:
        """Count a window's rows by bins of the error that is expected of them; rows without a prediction are none."""
        answered = np.isfinite(predicted)
        if not answered.any():
            return self.profile.count([])
        rows = self.encoding.encode(features, tuple(self.encoding.levels)).take(answered)
        expected = self._booster.predict(
            _table(rows, self.encoding, self.usual, predicted[answered]), num_threads=1
        )
        return self.profile.count(expected)

    @cached_property
    def _booster(self) -> Any:
        import lightgbm  # takes seconds to load, so only in the process that needs it

        return lightgbm.Booster(model_str=self.trees)

    def encode(self) -> bytes:
        """Pack it for storage."""
        levels = {
            name: None if known is None else [str(one).encode("utf-8", "surrogatepass") for one in known]
            for name, known in self.encoding.levels.items()
        }
        days = {
            name: (day.errors.tolist(), day.variances.tolist(), day.rows.tolist())
            for name, day in self.days.items()
        }
        wire = _Wire(levels, self.usual.tolist(), self.trees, self.profile, days)
        return zstandard.compress(msgspec.msgpack.encode(wire))

    @classmethod
    def decode(cls, data: bytes) -> LearntErrors:
        """Unpack what `encode` packed."""
        wire = msgspec.msgpack.decode(zstandard.decompress(data), type=_Wire)
        levels = {
            name: None
            if known is None
            else {one.decode("utf-8", "surrogatepass"): number for number, one in enumerate(known)}
            for name, known in wire.levels.items()
        }
        days = {name: DayErrors(*map(np.array, columns)) for name, columns in wire.days.items()}
        return cls(JointEncoding(levels), np.array(wire.usual), wire.trees, wire.profile, days)


class _Wire(msgspec.Struct, array_like=True):
    levels: dict[str, list[bytes] | None]
    usual: list[float]
    trees: str
    profile: ErrorProfile
    days: dict[str, tuple[list[float], list[float], list[float]]]


def learn_errors(
    features: Mapping[str, NDArray[Any]],
    labels: NDArray[np.float64],
    predicted: NDArray[np.float64],
    days: IntArray | None = None,
) -> tuple[LearntErrors | None, str]:
    """Learn what moves the error, from arrays of one entry a row; `days` number the days of rows, if known.

    Where features do not explain more of it than the size of the prediction there is only why. Both are empty where
    the reference tells nothing, as one of fewer than 200 labelled rows.
    """
    known = np.flatnonzero(np.isfinite(labels) & np.isfinite(predicted))
    known = known[np.linspace(0, known.size - 1, min(known.size, MAX_ROWS)).astype(np.int64)]
    truth, answer = labels[known], predicted[known]
    losses = np.abs(answer - truth)
    if profile_errors(losses, answer) is None or not losses.any():
        return None, ""
    days = None if days is None else days[known]
    is_by_day = days is not None and np.unique(days).size >= 2 * FOLDS
    groups = days if is_by_day and days is not None else np.arange(known.size)
    folds = deal_folds(groups, FOLDS)
    encoding, usual, rows = _learn_columns({name: values[known] for name, values in features.items()})
    table, target = _table(rows, encoding, usual, answer), losses / losses.mean()
    expected = np.empty(known.size)
    for inside, trees in train_out_of_fold(table, target, folds, objective="regression", rounds=ROUNDS):
        expected[inside] = trees.predict(table[inside], num_threads=1)
    by_features, by_size, needed = _explained(losses, (expected, answer), folds, groups)
    why = (
        f"Of how the errors of the reference's rows vary, features explain {by_features:.1%} and the size of "
        f"the prediction alone {by_size:.1%}, in {'days' if is_by_day else 'rows'} not learnt from; a lead of "
        f"{needed:.1%} is needed, one standard error."
    )
    profile = profile_errors(losses, expected)
    if by_features - by_size <= needed or profile is None:
        return None, why
    trees = train(table, target, objective="regression", rounds=ROUNDS)
    errors_of_days = _days_of(profile, losses, expected, days)
    return LearntErrors(encoding, usual, trees.model_to_string(), profile, errors_of_days), why


def _explained(
    losses: FloatArray, numbers: tuple[FloatArray, FloatArray], folds: IntArray, groups: IntArray
) -> tuple[float, float, float]:
    """Return the shares of the losses' variance that bins by either of two numbers explain, and the standard error of
    the difference, over groups of rows that resemble each other.
    """
    missed, other_missed = (_missed(losses, number, folds) for number in numbers)
    total = max(float(np.var(losses)), np.finfo(np.float64).tiny) * losses.size
    lead = np.bincount(np.unique(groups, return_inverse=True)[1], other_missed - missed)
    share, other_share = (max(1 - float(off.sum()) / total, 0.0) for off in (missed, other_missed))
    return share, other_share, float(lead.std(ddof=1)) * lead.size**0.5 / total


def _learn_columns(features: Mapping[str, NDArray[Any]]) -> tuple[JointEncoding, FloatArray, JointRows]:
    """Number the frequent levels of categories, and choose what stands for values that the reference never lacks."""
    all_levels = JointEncoding.learn(features)
    rows = all_levels.encode(features, tuple(features))
    levels: dict[str, Mapping[Any, int] | None] = {}
    usual = np.full(len(rows.names), np.nan)
    for place, (name, known) in enumerate(all_levels.levels.items()):
        values = rows.values[:, place]
        frequent = 0 if known is None else int((level_shares(rows, place) > 0).sum())
        levels[name] = None if known is None else dict(list(known.items())[:frequent])
        if not np.isnan(values).any():
            usual[place] = 0 if known is not None else np.median(values)
    return JointEncoding(levels), usual, rows


def _table(
    rows: JointRows, encoding: JointEncoding, usual: FloatArray, predicted: NDArray[np.float64]
) -> FloatArray:
    """Lay rows out as trees read them, the prediction last; rare and unknown levels are one."""
    most = np.array([np.inf if levels is None else len(levels) for levels in encoding.levels.values()])
    values = np.minimum(np.where(np.isnan(rows.values), usual, rows.values), most)
    return np.column_stack([values, predicted])


def _missed(losses: FloatArray, numbers: FloatArray, folds: IntArray) -> FloatArray:
    """Square what each row is off by from its bin of these numbers, as the rows of other folds made it."""
    missed = np.empty(losses.size)
    for fold in range(FOLDS):
        inside = folds == fold
        profile = profile_errors(losses[~inside], numbers[~inside])
        usual = losses[~inside].mean() if profile is None else expected_losses(profile, numbers[inside])
        missed[inside] = losses[inside] - usual
    return missed**2


def _days_of(
    profile: ErrorProfile, losses: FloatArray, expected: FloatArray, days: IntArray | None
) -> dict[str, DayErrors]:
    """Hold what rows that were not learnt from let one expect of each day against what it was."""
    if days is None:
        return {}
    days_with_errors = []
    for day in np.unique(days).tolist():
        off = losses[days == day]
        truth = {
            "mae": Estimate(float(off.mean()), off.size),
            "rmse": Estimate(float(np.sqrt(np.mean(off**2))), off.size),
        }
        days_with_errors.append((estimate_errors(profile, profile.count(expected[days == day])), truth))
    return errors_by_day(days_with_errors)
