"""Whether the ONNX model answers as the one that it was made from: on the caller's rows, on gaps and on extremes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftline_client.conversion.converted import Converted
from driftline_client.conversion.needs import needed
from driftline_client.conversion.table import Table
from driftline_client.errors import DriftlineError

MAX_SAMPLE_ROWS = 4_000
SPECIAL_ROWS = 400
UNSEEN_CATEGORY = "a category that no row of X has"


@dataclass(frozen=True)
class KindParity:
    """Rows of one kind: how many, how many differ beyond the tolerance, and the largest difference."""

    rows: int
    differing: int
    max_difference: float

    @property
    def share(self) -> float:
        return self.differing / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Parity:
    """The comparison, by kind of rows: `given`, `missing`, `extreme`, `unseen`; what the model refuses has no entry."""

    tolerance: float
    kinds: dict[str, KindParity]
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(kind.rows for kind in self.kinds.values())

    @property
    def max_difference(self) -> float:
        return max(kind.max_difference for kind in self.kinds.values())

    def described(self) -> dict[str, Any]:
        """Return the numbers as the version's lineage keeps them; a number against NaN is no distance, so None."""
        largest = self.max_difference if math.isfinite(self.max_difference) else None
        shares = {f"share_differing_{name}": kind.share for name, kind in self.kinds.items()}
        return {
            "rows": self.rows,
            "max_difference": largest,
            "tolerance": self.tolerance,
        } | shares


def check_parity(
    converted: Converted, table: Table, *, tolerance: float, tolerated_share: float, missing: dict[str, str]
) -> Parity:
    """Compare both models; raises DriftlineError where more than `tolerated_share` of one kind of rows differ.

    `tolerance` is absolute for probabilities, and for numbers relative to the spread of the answers. Where X has no
    gaps, a model that answers them otherwise is warned of and not refused: nobody may ever send one.
    """
    session = _session(converted.onnx)
    given = table.take(_sample(len(table), MAX_SAMPLE_ROWS))
    spread = 1.0 if converted.is_classifier else float(np.nanstd(converted.predict(given))) or 1.0
    kinds = {
        kind: found
        for kind, rows in _kinds(given, missing)
        if (found := _compare(converted, session, rows, kind, tolerance * spread)) is not None
    }
    parity = Parity(tolerance * spread, kinds)
    for kind, found in kinds.items():
        if found.share <= tolerated_share:
            continue
        if kind != "missing" or table.has_gaps:
            raise DriftlineError(_explain(kind, found, parity.tolerance, gaps=table.has_gaps))
        parity.warnings.append(
            f"{_explain(kind, found, parity.tolerance, gaps=True)} Until then, send no missing values."
        )
    return parity


def _kinds(given: Table, missing: dict[str, str]) -> Iterator[tuple[str, Table]]:
    yield "given", given
    if not given.names:
        return
    few = given.take(_sample(len(given), SPECIAL_ROWS))
    yield "missing", _with_gaps(few, missing)
    yield "extreme", _extremes(few)
    if given.has_text:
        yield "unseen", _unseen(few)


def _sample(rows: int, most: int) -> Any:
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _with_gaps(table: Table, missing: dict[str, str]) -> Table:
    """Empty every third value of each column of numbers, and of each text whose token for that is known."""
    rng = np.random.default_rng(1)
    for place, (name, kind) in enumerate(zip(table.names, table.types, strict=True)):
        gone = rng.random(len(table)) < 1 / 3
        if kind == "float":
            table = table.with_column(place, np.where(gone, np.nan, table.column(place)))
        elif kind == "string" and name in missing:
            table = table.with_column(place, np.where(gone, missing[name], table.column(place)))
    return table


def _extremes(table: Table) -> Table:
    """Put each number at, just beside and far beyond the ends of what the rows hold, the others as they are."""
    rng = np.random.default_rng(2)
    for place, kind in enumerate(table.types):
        if kind not in ("float", "int"):
            continue
        column = table.column(place)
        finite = column[np.isfinite(column.astype(np.float64))]
        if not len(finite):
            continue
        ends = _ends(float(finite.min()), float(finite.max()), whole=kind == "int")
        changed = rng.random(len(table)) < 1 / 3
        values = np.where(changed, rng.choice(ends, len(table)), column).astype(column.dtype)
        table = table.with_column(place, values)
    return table


def _ends(least: float, greatest: float, *, whole: bool) -> list[float]:
    reach = 10 * (greatest - least or 1.0)
    ends = [least, greatest, 0.0, least - reach, greatest + reach]
    if whole:
        return [round(end) for end in ends]
    low, high = np.float32(least), np.float32(greatest)
    beside = [np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf))]
    return [float(np.float32(end)) for end in [*ends, *beside]]


def _unseen(table: Table) -> Table:
    for place, kind in enumerate(table.types):
        if kind == "string":
            table = table.with_column(place, np.full(len(table), UNSEEN_CATEGORY, object))
    return table


def _compare(
    converted: Converted, session: Any, table: Table, kind: str, tolerance: float
) -> KindParity | None:
    """Compare on rows of one kind; None where the caller's own model refuses them, and so asks for no answer."""
    try:
        expected = np.asarray(converted.predict(table), np.float64).reshape(len(table), -1)
    except Exception as error:
        if kind == "given":
            raise DriftlineError(f"The model fails on X itself: {str(error)[:300]}") from error
        return None
    score = converted.probabilities or converted.prediction
    try:
        answered = session.run([score], converted.tensors(table))[0].reshape(len(table), -1)
    except Exception as error:
        raise DriftlineError(
            f"The converted model fails on {_WORDS[kind]}: {str(error)[:300]} {_ADVICE[kind]}"
        ) from error
    difference = np.abs(expected - answered.astype(np.float64))
    difference[np.isnan(expected) & np.isnan(answered)] = 0
    worst = np.where(np.isnan(difference), np.inf, difference).max(axis=1)
    return KindParity(len(table), int((worst > tolerance).sum()), float(worst.max()))


_WORDS = {
    "given": "the rows of X",
    "missing": "rows with missing values (NaN)",
    "extreme": "rows with extreme values",
    "unseen": "rows with categories that X does not have",
}
_ADVICE = {
    "given": "Train on float32 (X.astype('float32')), so that no threshold lies between two float32, or simplify "
    "the model.",
    "missing": "Put a SimpleImputer into the pipeline: trees that learnt from NaN do not convert faithfully.",
    "extreme": "Clip or scale the features inside the pipeline, and train on float32.",
    "unseen": "Use OneHotEncoder(handle_unknown='ignore') or OrdinalEncoder(handle_unknown='use_encoded_value', "
    "unknown_value=-1).",
}


def _explain(kind: str, found: KindParity, tolerance: float, *, gaps: bool) -> str:
    advice = _ADVICE["missing" if gaps and kind == "given" else kind]
    return (
        f"The converted model answers otherwise than yours on {found.differing} of {found.rows} of {_WORDS[kind]}: "
        f"they differ by more than {tolerance:.1g}, at most by {found.max_difference:.2g}. {advice}"
    )


def _session(onnx: bytes) -> Any:
    ort = needed("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DriftlineError(f"ONNX Runtime cannot load the converted model: {str(error)[:300]}") from error
