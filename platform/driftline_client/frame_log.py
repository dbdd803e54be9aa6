"""Log and label whole frames: in requests of a few thousand rows, with what became of each row."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Required, TypedDict

from driftline_client.errors import DriftlineError
from driftline_client.frames import Frame, read_frame
from driftline_client.ids import new_id
from driftline_client.items import encode, label_item, plain, prediction_item
from driftline_client.sending.transport import MAX_BATCH_BYTES, REFUSALS, Backoff, Courier, Reply, Stream

ROWS_A_REQUEST = 5_000
UNSENT = "unsent"

Progress = Callable[[int, int], object]
Row = tuple[int, bytes | DriftlineError]


class PredictionColumns(TypedDict, total=False):
    """Which columns of a frame hold what; every other column is a feature, unless `features` names them."""

    prediction: Required[str]
    features: Sequence[str]
    probabilities: str | Mapping[str, str]
    """The column with p of the positive class, or {class: column}."""
    id: str | Sequence[str]
    """The column with your own ids, or one id a row; made here by default."""
    timestamp: str | datetime
    """The column with the events' times, or one time for all; now by default."""
    latency_ms: str
    subject: str
    tags: Sequence[str]
    version: str
    """The version itself, not a column, as is the role."""
    role: str


class LabelColumns(TypedDict, total=False):
    """Which columns of a frame hold what; others are left alone."""

    id: Required[str]
    label: Required[str]
    timestamp: str


@dataclass(frozen=True)
class RowFault:
    """Why a row was not kept."""

    code: str
    detail: str


@dataclass(frozen=True)
class FrameResult:
    """What became of each row of a frame: its id, its status, and by row number what is wrong with the refused.

    A status is the server's (`accepted`, `duplicate`, `conflict`, `rejected`, `pending_prediction`, `superseded`,
    `ambiguous_id`), or `unsent` where Driftline has not answered for the row.
    """

    ids: list[str]
    statuses: list[str]
    timestamp: datetime
    """The time of the rows where none was given."""
    faults: dict[int, RowFault] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Count the rows that were refused, here or by the server."""
        return sum(map(self.statuses.count, REFUSALS))

    @property
    def duplicates(self) -> int:
        """Count the rows that Driftline had already."""
        return self.statuses.count("duplicate")

    @property
    def accepted(self) -> int:
        """Count the rows that Driftline has taken."""
        return len(self.statuses) - self.rejected - self.duplicates - self.statuses.count(UNSENT)


class FrameInterrupted(DriftlineError):
    """A frame of which Driftline took only a part; `result` says which rows.

    Logging the same frame again with `id=error.result.ids, timestamp=error.result.timestamp` keeps no row twice.
    """

    def __init__(self, detail: str, status: int | None, result: FrameResult) -> None:
        super().__init__(detail, status)
        self.result = result


def log_predictions(
    frame: Any, columns: PredictionColumns, sending: "Sending", version: str | None
) -> FrameResult:
    """Log each row of a frame as a prediction."""
    table = read_frame(frame)
    given = columns.get("timestamp")
    moment = given if isinstance(given, datetime) else datetime.now(UTC)
    result = FrameResult(_ids(table, columns.get("id")), [UNSENT] * table.rows, moment)
    version = columns.get("version") or version
    if version is None:
        raise DriftlineError("Logged predictions need a version; give it to model() or to log_frame().")
    return sending.send(_prediction_rows(table, columns, version, result), result)


def log_labels(frame: Any, columns: LabelColumns, sending: "Sending") -> FrameResult:
    """Send each row of a frame as a label."""
    table = read_frame(frame)
    result = FrameResult(_ids(table, columns["id"]), [UNSENT] * table.rows, datetime.now(UTC))
    return sending.send(_label_rows(table, columns, result), result)


@dataclass(frozen=True)
class Sending:
    """How a frame's rows reach the server: retries go on for `patience_s` since it last took some."""

    courier: Courier
    stream: Stream
    backoff: Callable[[], Backoff]
    patience_s: float
    progress: Progress | None

    def send(self, rows: Iterable[Row], result: FrameResult) -> FrameResult:
        """Send the rows and note in `result` what became of them."""
        for batch in _batches(rows, result):
            reply = self._post([line for _, line in batch], result)
            for (row, _), told in zip(batch, reply.results, strict=True):
                result.statuses[row] = str(told["status"])
                if fault := told.get("error"):
                    result.faults[row] = RowFault(str(fault["code"]), str(fault["detail"]))
            if self.progress is not None:
                self.progress(batch[-1][0] + 1, len(result.ids))
        return result

    def _post(self, lines: list[bytes], result: FrameResult) -> Reply:
        backoff, deadline = self.backoff(), time.monotonic() + self.patience_s
        while True:
            reply = self.courier.post(self.stream, lines)
            if reply.is_kept:
                return reply
            pause = backoff.next_s(reply.retry_after_s)
            if not reply.may_pass or time.monotonic() + pause > deadline:
                raise FrameInterrupted(
                    f"Driftline took {result.accepted + result.duplicates:,} of {len(result.ids):,} rows, then: "
                    f"{reply.detail}",
                    reply.status,
                    result,
                )
            time.sleep(pause)


def _batches(rows: Iterable[Row], result: FrameResult) -> Iterator[list[tuple[int, bytes]]]:
    """Gather what fits into a request; what cannot be sent is noted at once."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for row, line in rows:
        if isinstance(line, DriftlineError):
            result.statuses[row], result.faults[row] = "rejected", RowFault("not_sendable", str(line))
            continue
        if len(batch) == ROWS_A_REQUEST or size + len(line) > MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((row, line))
        size += len(line)
    if batch:
        yield batch


def _prediction_rows(
    table: Frame, columns: PredictionColumns, version: str, result: FrameResult
) -> Iterator[Row]:
    told = _told_columns(columns)
    features = list(columns.get("features") or [name for name in table.names if name not in told])
    names = [*dict.fromkeys([*features, *told])]
    table.check(names)

    def write(row: int, values: Mapping[str, Any]) -> bytes:
        return encode(_prediction(values, columns, features, version, result.ids[row], result.timestamp))

    return _rows(table, names, write)


def _prediction(
    values: Mapping[str, Any],
    columns: PredictionColumns,
    features: list[str],
    version: str,
    key: str,
    moment: datetime,
) -> dict[str, Any]:
    timestamp, probabilities = columns.get("timestamp"), columns.get("probabilities")
    if isinstance(probabilities, Mapping):
        scores: Any = {label: values[column] for label, column in probabilities.items()}
    else:
        scores = values[probabilities] if probabilities is not None else None
    return prediction_item(
        id=key,
        timestamp=_moment(values[timestamp]) if isinstance(timestamp, str) else moment,
        version=version,
        features={name: values[name] for name in features},
        prediction=values[columns["prediction"]],
        probabilities=scores,
        role=columns.get("role"),
        tags={name: str(values[name]) for name in columns.get("tags", ()) if values[name] is not None}
        or None,
        **{name: plain(values[columns[name]], name) for name in ("latency_ms", "subject") if name in columns},
    )


def _label_rows(table: Frame, columns: LabelColumns, result: FrameResult) -> Iterator[Row]:
    timestamp = columns.get("timestamp")
    names = [columns["label"], *([timestamp] if timestamp is not None else [])]
    table.check(names)

    def write(row: int, values: Mapping[str, Any]) -> bytes:
        moment = _moment(values[timestamp]) if timestamp is not None else None
        return encode(label_item(id=result.ids[row], label=values[columns["label"]], timestamp=moment))

    return _rows(table, names, write)


def _rows(table: Frame, names: list[str], write: Callable[[int, Mapping[str, Any]], bytes]) -> Iterator[Row]:
    """Write each row as an item; when not one of the first can be, the frame is not what the caller thinks."""
    for start, parts in table.parts(names):
        rows = [
            (row, _written(write, row, dict(zip(names, values, strict=True))))
            for row, values in enumerate(zip(*parts, strict=True), start)
        ]
        if start == 0 and all(isinstance(line, DriftlineError) for _, line in rows):
            raise DriftlineError(f"No row can be sent. {rows[0][1]!s}")
        yield from rows


def _written(
    write: Callable[[int, Mapping[str, Any]], bytes], row: int, values: Mapping[str, Any]
) -> bytes | DriftlineError:
    try:
        return write(row, values)
    except DriftlineError as error:
        return error


def _told_columns(columns: PredictionColumns) -> list[str]:
    """Name the columns that are told to be something else than features."""
    probabilities = columns.get("probabilities")
    told: list[Any] = [columns["prediction"], columns.get("latency_ms"), columns.get("subject")]
    told += probabilities.values() if isinstance(probabilities, Mapping) else [probabilities]
    told += [columns.get("timestamp"), columns.get("id"), *columns.get("tags", ())]
    return [name for name in told if isinstance(name, str)]


def _ids(table: Frame, given: str | Sequence[str] | None) -> list[str]:
    if given is None:
        return [new_id() for _ in range(table.rows)]
    if not isinstance(given, str):
        if len(given) != table.rows:
            raise DriftlineError(f"There are {len(given):,} ids for {table.rows:,} rows; give one a row.")
        return list(given)
    table.check([given])
    return [_id(value) for _, parts in table.parts([given]) for value in parts[0]]


def _id(value: Any) -> str:
    """Write an id; a whole number is the same id where a gap in its column made it a float."""
    known = plain(value, "id")
    return (
        "" if known is None else str(int(known) if isinstance(known, float) and known.is_integer() else known)
    )


def _moment(value: Any) -> datetime:
    """Read a time of pandas, polars, Arrow or a text."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise DriftlineError(f"{value!r} is no time such as 2026-01-31T12:00:00Z.") from error
    if value is None or type(value).__name__ == "NaTType":
        raise DriftlineError("The timestamp is missing.")
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime(warn=False)
    if not isinstance(value, datetime):
        raise DriftlineError(f"The timestamp is a {type(value).__name__}; give times with a zone.")
    return value
