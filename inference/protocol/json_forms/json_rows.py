"""Rows and columns of JSON values -> a version's inputs, for the protocols whose requests name no datatype."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeGuard

from inference.protocol.matching import MAX_ROWS, SignatureMatch, list_names
from inference.protocol.results import VALUES_AT_ONCE
from inference.protocol.v2.raw_tensors import read_text
from inference.protocol.v2.tensors import Buffer, InvalidRequest, TensorCodec, TooManyRows, shorten
from inference.signatures import Signature

type Rows = tuple[int, list[Buffer]]  # how many, and their values in the order of the signature's inputs


class RowReader:
    """Reads the values of one version's inputs; built once, when it is first asked for.

    Values come by input, or by feature: a feature is an input, or a column of the only input.
    """

    def __init__(self, signature: Signature) -> None:
        self._match = SignatureMatch(signature)
        self.inputs = self._match.tensors
        self.features = [feature.name for feature in signature.features]
        self._known = set(self.features)
        self._is_table = len(self.inputs) == 1 and self.inputs[0].row_shape == [len(self.features)]

    @property
    def only_input(self) -> TensorCodec | None:
        """Return the only input; None where there are several."""
        return self.inputs[0] if len(self.inputs) == 1 else None

    def read_rows(self, rows: object, called: str) -> Rows:
        """Read a list with one item a row: an object by input or by feature, or the only input's bare value.

        `called` is what the protocol calls the list.
        """
        if not isinstance(rows, list) or not rows:
            raise InvalidRequest(f"'{called}' is {shorten(rows)}; send a list with one item a row.")
        _check_count(len(rows))
        if not _is_named(rows[0]):
            return self._read_bare(rows, called)
        names = list(rows[0])
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for place, row in enumerate(rows):
            if not _is_named(row) or row.keys() != columns.keys():
                raise InvalidRequest(
                    f"'{called}' holds {shorten(row)} at place {place}, whose names are not those of the first; "
                    "send the same names in each row."
                )
            for name, value in row.items():
                columns[name].append(value)
        return self.read_columns(columns, called)

    def _read_bare(self, rows: list[Any], called: str) -> Rows:
        codec = self.only_input
        if codec is None:
            names = list_names([spec.name for spec in self.inputs])
            raise InvalidRequest(
                f"'{called}' holds bare values and the model has {len(self.inputs)} inputs; name them: {names}."
            )
        return len(rows), [_pack(codec, rows)]

    def read_columns(self, columns: object, called: str) -> Rows:
        """Read an object with one list a name, of an input or a feature, or the bare list of the only input."""
        if not _is_named(columns):
            return self.read_rows(columns, called)
        if (
            self._is_table
            and self.inputs[0].name not in columns
            and not columns.keys().isdisjoint(self._known)
        ):
            return self._read_features(columns)
        packed: dict[str, Buffer] = {}
        rows: int | None = None
        for name, values in columns.items():
            codec = self._match.find_named_input(name)
            rows = _count(name, values, rows)
            packed[codec.name] = _pack(codec, values)
        tensors = self._match.in_order(packed)
        assert rows is not None
        return rows, tensors

    def _read_features(self, columns: dict[str, Any]) -> Rows:
        """Read the columns of the only input by the names of its features."""
        self._check_names(list(columns))
        rows: int | None = None
        for name, values in columns.items():
            rows = _count(name, values, rows)
        assert rows is not None
        table = zip(*(_bare_values(columns[name]) for name in self.features), strict=True)
        return rows, [_pack(self.inputs[0], [list(row) for row in table])]

    def read_table(self, names: Sequence[object], rows: object, called: str) -> Rows:
        """Read rows whose values stand in the order of `names`, which are features, or 0 to n-1 for their order."""
        if not isinstance(rows, list) or not rows:
            raise InvalidRequest(f"'{called}' is {shorten(rows)}; send a list with one list a row.")
        _check_count(len(rows))
        for place, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names):
                raise InvalidRequest(
                    f"'{called}' holds {shorten(row)} at place {place}; send lists of {len(names)} values, one "
                    "for each column."
                )
        if list(names) == list(range(len(self.features))):
            names = self.features
        self._check_names(names)
        if self._is_table:
            place_of = {name: place for place, name in enumerate(names)}
            places = [place_of[name] for name in self.features]
            in_order = places == list(range(len(places)))
            table = rows if in_order else [[row[place] for place in places] for row in rows]
            return len(rows), [_pack(self.inputs[0], table)]
        return self.read_columns(
            {str(name): list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)},
            called,
        )

    def _check_names(self, names: Sequence[object]) -> None:
        """Refuse columns that are not the features, each once."""
        known = self._known
        unknown = [name for name in names if not isinstance(name, str) or name not in known]
        if unknown:
            raise InvalidRequest(
                f"The model has no feature {shorten(unknown[0])}; its features are {list_names(self.features)}."
            )
        sent = set(names)
        if len(sent) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidRequest(f"The feature {shorten(twice)} comes twice; send it once.")
        absent = [name for name in self.features if name not in sent]
        if absent:
            raise InvalidRequest(
                f"The feature '{absent[0]}' is missing; send all of {list_names(self.features)}."
            )


def _is_named(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a value is an object by name, and not one that stands for bytes."""
    return isinstance(value, dict) and value.keys() != {"b64"}


def _check_count(rows: int) -> None:
    if rows > MAX_ROWS:
        raise TooManyRows(f"The request has {rows} rows; send at most {MAX_ROWS} at a time.")


def _count(name: str, values: object, before: int | None) -> int:
    """Check that a column is a list with as many rows as those before it, and give that number."""
    if not isinstance(values, list) or not values:
        raise InvalidRequest(f"'{name[:200]}' is {shorten(values)}; send a list with one value a row.")
    _check_count(len(values))
    if before is not None and len(values) != before:
        raise InvalidRequest(
            f"'{name[:200]}' has {len(values)} rows and others have {before}; send as many in each."
        )
    return len(values)


def _bare_values(values: list[Any]) -> list[Any]:
    """Take single values out of lists of one."""
    return [value[0] if type(value) is list and len(value) == 1 else value for value in values]


def _pack(codec: TensorCodec, rows: list[Any]) -> Buffer:
    """Pack an input's rows, so few at a time that no step keeps the interpreter for long."""
    size = max(VALUES_AT_ONCE // max(codec.width, 1), 1)
    if len(rows) <= size:
        return _pack_part(codec, rows)
    parts: list[Any] = []
    for at in range(0, len(rows), size):
        try:
            parts.append(_pack_part(codec, rows[at : at + size]))
        except InvalidRequest as error:
            raise InvalidRequest(f"Of the rows from {at} on: {error}") from None
    return b"".join(parts) if isinstance(parts[0], bytes) else [text for part in parts for text in part]


def _pack_part(codec: TensorCodec, rows: list[Any]) -> Buffer:
    """Pack rows, each nested as the input's shape says; a row of one value may stand bare."""
    values = rows
    for size in codec.row_shape:
        if size == 1:
            values = _bare_values(values)
            continue
        for place, part in enumerate(values):
            if type(part) is not list or len(part) != size:
                raise InvalidRequest(
                    f"Input '{codec.name}' holds {shorten(part)} at place {place}; the model takes lists of {size}."
                )
        values = [value for part in values for value in part]
    if codec.datatype == "BYTES":
        values = [_read_bytes(codec.name, value, place) for place, value in enumerate(values)]
    codec.check_types(values)
    return codec.pack(values)


def _read_bytes(name: str, value: object, place: int) -> object:
    """Read what stands for bytes; leave anything else as it is."""
    if not isinstance(value, dict) or value.keys() != {"b64"}:
        return value
    try:
        return read_text(name, base64.b64decode(value["b64"], validate=True), place)
    except (binascii.Error, TypeError, ValueError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(
            f"Input '{name}' holds {shorten(value)} at place {place}; send base64 under 'b64'."
        ) from None
