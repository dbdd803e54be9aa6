"""Guesses what each column of a file is from its name, its values and what is known of its model, and says why."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct, field

from inference.data_files.columns import (
    CLASS_PREFIX,
    OWN_NAMES,
    TAG_PREFIX,
    TIMES,
    ColumnRole,
    FileKind,
    plain_name,
)
from inference.data_files.formats import Decimal, is_number
from inference.data_files.times import TimeStyle, style_of
from inference.vector_names import vectors_in

MIN_ROWS_UNIQUE = 20  # from which on values that never repeat say something
_MOSTLY = 0.9
_MAX_DIGITS = 40  # of a number that may count rows; Python refuses to read some thousands
# fmt: off
_SYNONYMS: Mapping[ColumnRole, frozenset[str]] = {
    ColumnRole.TIMESTAMP: frozenset((
        "time", "ts", "datetime", "date_time", "event_time", "event_timestamp", "prediction_time", "predicted_at",
        "created_at", "logged_at", "scored_at", "occurred_at", "date",
    )),
    ColumnRole.ID: frozenset((
        "prediction_id", "row_id", "request_id", "uuid", "guid", "index", "key", "record_id",
    )),
    ColumnRole.LABEL: frozenset((
        "target", "y", "y_true", "truth", "ground_truth", "actual", "actuals", "outcome", "observed", "true_label",
        "true_value",
    )),
    ColumnRole.LABEL_TIMESTAMP: frozenset((
        "label_time", "labelled_at", "labeled_at", "label_date", "outcome_time",
    )),
    ColumnRole.PREDICTION: frozenset((
        "pred", "predicted", "y_pred", "y_hat", "yhat", "predicted_label", "predicted_class", "predicted_value",
        "decision", "output",
    )),
    ColumnRole.PROBABILITY: frozenset((
        "proba", "prob", "p", "score", "y_score", "y_prob", "y_proba", "predicted_probability", "confidence",
    )),
    ColumnRole.VERSION: frozenset(("model_version",)),
    ColumnRole.LATENCY: frozenset(("latency", "duration_ms", "response_time_ms")),
}
_OUTCOMES = frozenset((
    "approved", "accepted", "churn", "churned", "exited", "fraud", "is_fraud", "isfraud", "default", "defaulted",
    "converted", "clicked", "click", "survived", "bought", "purchased", "response", "result", "class", "late",
    "is_late", "passed", "failed", "success", "returned",
))
"""Names under which people keep what really happened, of columns with two values."""
# fmt: on
_LEFT_OUT = ("client_id",)


class ColumnSample(Struct, frozen=True):
    """The first values of a column as text, None where one is missing."""

    name: str
    values: list[str | None]
    is_nested: bool = False
    """Whether its values are other lists, records or bytes, which cannot be stored."""
    is_vector: bool = False
    """Whether its values are lists of numbers; none of them is here."""
    may_list_anything: bool = False
    """Whether these are whole numbers, in lists of any length."""


class KnownModel(Struct, frozen=True):
    """What is known of the model that a file is for."""

    task: str = "binary"
    features: dict[str, bool] = {}
    """Whether each feature that its versions declare is a number."""
    classes: list[str] = []
    positive_class: str | None = None
    has_reference: bool = False
    has_all_features: bool = False
    """Whether it has no others, as one that is served; what others were logged or learnt from may bring more."""


class ColumnGuess(Struct):
    """The role that a column seems to have, why, and what should be looked at."""

    name: str
    role: ColumnRole
    why: str
    warnings: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    times: TimeStyle | None = None


class ColumnFacts:
    """A column's values, looked at once."""

    def __init__(self, sample: ColumnSample, decimal: Decimal) -> None:
        self.name, self.is_nested, self.is_vector = sample.name, sample.is_nested, sample.is_vector
        self.may_list_anything = sample.may_list_anything
        self.plain = plain_name(sample.name)
        self.values = [value for value in sample.values if value is not None]
        self.distinct = set(self.values)
        self.is_unique = MIN_ROWS_UNIQUE <= len(self.distinct) == len(self.values) == len(sample.values)
        self.is_number = bool(self.values) and all(is_number(value, decimal) for value in self.distinct)
        self.is_whole = self.is_number and all(
            value.strip().lstrip("+-").isdigit() for value in self.distinct
        )
        self.times = style_of(self.values[:1_000])

    @property
    def looks_like_times(self) -> bool:
        """Whether most values are times; a bare number is one only under such a name."""
        if self.times.share < _MOSTLY:
            return False
        return self.times.formats != ["epoch"] or self.plain in _SYNONYMS[ColumnRole.TIMESTAMP] | {
            "timestamp"
        }

    @property
    def looks_like_ids(self) -> bool:
        """Whether its values never repeat and are names or numbers in a row, and no measurements."""
        if not self.is_unique or self.looks_like_times:
            return False
        has_id_name = self.plain.endswith(("_id", "_no", "_key", "_nr")) or self.plain in ("id", "nr", "no")
        return not self.is_number or (self.is_whole and (has_id_name or self._counts_up))

    @property
    def _counts_up(self) -> bool:
        if any(len(value) > _MAX_DIGITS for value in self.values):
            return False
        return all(int(after) - int(before) == 1 for before, after in pairwise(self.values))


def guess_columns(
    samples: Sequence[ColumnSample],
    *,
    known: KnownModel,
    decimal: Decimal = ".",
    remembered: Mapping[str, ColumnRole] | None = None,
) -> list[ColumnGuess]:
    """Guess the role of each column; what was chosen for the model's file before holds for columns of the same name."""
    facts = [ColumnFacts(sample, decimal) for sample in samples]
    guesses = [_by_name(one, known, remembered or {}) for one in facts]
    taken = {guess.role for guess in guesses if guess}
    for place, one in enumerate(facts):
        if guesses[place] is None:
            guesses[place] = _by_synonym(one, taken, known)
            taken |= {guess.role for guess in guesses[place : place + 1] if guess}
    for place, one in enumerate(facts):
        if guesses[place] is None:
            guesses[place] = _by_values(one, taken, known)
            taken |= {guess.role for guess in guesses[place : place + 1] if guess}
    found = [guess for guess in guesses if guess is not None]
    for guess, one in zip(found, facts, strict=True):
        guess.examples = list(dict.fromkeys(one.values))[:3]
        guess.times = one.times if guess.role in TIMES else None
    _warn(found, facts, known)
    return found


def _by_name(one: ColumnFacts, known: KnownModel, remembered: Mapping[str, ColumnRole]) -> ColumnGuess | None:
    if one.name in remembered:
        return ColumnGuess(one.name, remembered[one.name], "As chosen for the file before.")
    if one.is_nested or (one.is_vector and one.name in OWN_NAMES):
        return ColumnGuess(one.name, ColumnRole.IGNORED, "Its values are lists, records or bytes.")
    if one.is_vector:
        is_known = one.name in vectors_in(known.features)
        if known.has_all_features and not is_known:
            return ColumnGuess(one.name, ColumnRole.IGNORED, "The model has no such feature.")
        if one.may_list_anything and not is_known:
            return ColumnGuess(one.name, ColumnRole.IGNORED, "Its values are lists of whole numbers.")
        return ColumnGuess(one.name, ColumnRole.FEATURE, "Its values are vectors, of which none is shown.")
    if one.name in known.features:
        return ColumnGuess(one.name, ColumnRole.FEATURE, "The model declares it.")
    if one.name in OWN_NAMES:
        return ColumnGuess(one.name, ColumnRole(one.name), "Its name says so.")
    if one.name.startswith(CLASS_PREFIX):
        return ColumnGuess(one.name, ColumnRole.PROBABILITY, "Its name says so.")
    if one.name.startswith(TAG_PREFIX):
        return ColumnGuess(one.name, ColumnRole.TAG, "Its name says so.")
    if one.name.startswith("import_") or one.name in _LEFT_OUT:
        return ColumnGuess(one.name, ColumnRole.IGNORED, "Driftline wrote it into a file of its own.")
    return None


def _by_synonym(one: ColumnFacts, taken: set[ColumnRole], known: KnownModel) -> ColumnGuess | None:
    for role, names in _SYNONYMS.items():
        if (one.plain not in names and one.plain != role) or role in taken:
            continue
        if _fits(one, role, known):
            return ColumnGuess(one.name, role, f"{one.name!r} is a usual name for it, and its values fit.")
    return None


def _fits(one: ColumnFacts, role: ColumnRole, known: KnownModel) -> bool:
    match role:
        case ColumnRole.TIMESTAMP | ColumnRole.LABEL_TIMESTAMP:
            return one.looks_like_times
        case ColumnRole.ID:
            return one.is_unique or len(one.values) < MIN_ROWS_UNIQUE
        case ColumnRole.PROBABILITY:
            return known.task == "binary" and one.is_number and all(_is_share(value) for value in one.values)
        case ColumnRole.LABEL | ColumnRole.PREDICTION:
            return known.task != "binary" or len(one.distinct) <= 2
        case ColumnRole.LATENCY:
            return one.is_number
    return True


def _is_share(value: str) -> bool:
    try:
        return 0.0 <= float(value.replace(",", ".")) <= 1.0
    except ValueError:
        return False


def _by_values(one: ColumnFacts, taken: set[ColumnRole], known: KnownModel) -> ColumnGuess:
    if one.looks_like_times:
        if ColumnRole.TIMESTAMP not in taken:
            return ColumnGuess(one.name, ColumnRole.TIMESTAMP, "Its values are times.")
        return ColumnGuess(one.name, ColumnRole.IGNORED, "Its values are times, which are no features.")
    if one.looks_like_ids:
        if ColumnRole.ID not in taken:
            return ColumnGuess(one.name, ColumnRole.ID, "It is unique in every row.")
        return ColumnGuess(one.name, ColumnRole.IGNORED, "It is unique in every row, as an id is.")
    has_two = known.task == "binary" and len(one.distinct) == 2
    if has_two and one.plain in _OUTCOMES and ColumnRole.LABEL not in taken:
        return ColumnGuess(one.name, ColumnRole.LABEL, "It has two values and the name of an outcome.")
    if not one.values:
        return ColumnGuess(one.name, ColumnRole.IGNORED, "It is empty in the rows that were looked at.")
    if known.has_all_features:
        return ColumnGuess(one.name, ColumnRole.IGNORED, "The model has no such feature.")
    return ColumnGuess(one.name, ColumnRole.FEATURE, "Nothing says otherwise.")


# -- what should be looked at ------------------------------------------------------------------------------------------
def _warn(guesses: list[ColumnGuess], facts: list[ColumnFacts], known: KnownModel) -> None:
    labels = [one for guess, one in zip(guesses, facts, strict=True) if guess.role == ColumnRole.LABEL]
    for guess, one in zip(guesses, facts, strict=True):
        guess.warnings += warnings_of(guess.role, one, labels, known)


def warnings_of(
    role: ColumnRole, one: ColumnFacts, labels: Sequence[ColumnFacts], known: KnownModel
) -> list[str]:
    """Return what should be looked at of a column in a role, in sentences."""
    found = []
    if role == ColumnRole.FEATURE:
        if one.looks_like_ids:
            found.append("It is unique in every row, as an id is: such a feature always drifts.")
        if not labels and one.plain in _OUTCOMES and one.name not in known.features:
            found.append("It may be the label: as a feature it would be compared like an input.")
        if any(one.values == label.values for label in labels if len(label.distinct) > 1):
            found.append(f"It equals the label {labels[0].name!r} in every row.")
        if len(one.distinct) == 1 and len(one.values) >= MIN_ROWS_UNIQUE:
            found.append("It has one value in all rows that were looked at.")
    if role == ColumnRole.LABEL and len(one.distinct) == 1 and len(one.values) >= MIN_ROWS_UNIQUE:
        found.append(f"Every label is {one.values[0][:40]!r}: nothing can be judged by it.")
    if role == ColumnRole.ID and len(one.distinct) < len(one.values):
        repeated = len(one.values) - len(one.distinct)
        found.append(
            f"{repeated:,} of {len(one.values):,} ids repeat: of rows with one id and time the first is kept."
        )
    if role in TIMES:
        found += _warnings_of_times(one.times)
    return found


def _warnings_of_times(style: TimeStyle) -> list[str]:
    found = []
    if style.share < 1.0:
        share = f"{100 * (1 - style.share):.0f}%" if style.share < 0.995 else "Under 1%"
        found.append(f"{share} of its values are no times that are known; their rows will be refused.")
    if len(style.formats) > 1:
        found.append("Its times are written in two formats; each is read by its own.")
    if style.is_naive:
        found.append("Its times have no zone: choose the one that their clock had.")
    if not style.is_order_certain:
        found.append(f"{style.example!r} may have the day or the month first: choose the order.")
    return found


KIND_WORDS = {
    FileKind.REFERENCE: "a reference",
    FileKind.PREDICTIONS: "predictions",
    FileKind.LABELS: "labels",
}


def guess_kind(guesses: Sequence[ColumnGuess], known: KnownModel) -> FileKind:
    """Guess what a file brings from the roles of its columns; a reference is not replaced by a guess."""
    roles = [guess.role for guess in guesses]
    if ColumnRole.TIMESTAMP in roles and ColumnRole.PREDICTION in roles:
        return FileKind.PREDICTIONS
    is_of_labels = ColumnRole.ID in roles and ColumnRole.LABEL in roles and ColumnRole.FEATURE not in roles
    if is_of_labels:
        return FileKind.LABELS
    return FileKind.PREDICTIONS if known.has_reference else FileKind.REFERENCE
