"""References that people upload: read as CSV or Parquet, checked against the version, kept as Parquet."""

import csv
import hashlib
import tempfile
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from django.conf import settings
from django.db import transaction

from driftline.accounts.services import record_audit
from driftline.common.durable_files import write_file
from driftline.common.errors import Problem, invalid
from driftline.common.uploads import MAX_UPLOAD_BYTES, receive_file
from inference.registry.models import Dataset, Model, ModelTask, Version
from inference.registry.publishing import publish_on_commit
from inference.registry.selectors import get_version, signature_of
from inference.registry.services import external_version
from inference.registry.signals import reference_stored
from inference.signatures import Feature, Signature

MAX_COLUMNS = 5_000
MAX_CELLS = 200_000_000
MAX_TEXT = 1 << 30  # bytes, unpacked
MAX_NAME = 200
RESERVED = ("id", "timestamp", "label", "prediction", "probability")


def store_reference(
    *, model: Model, version: str | None, stream: IO[bytes], content_type: str, actor: str
) -> Dataset:
    """Keep an uploaded reference of `version` (the champion when None) and tell the monitors about it.

    Columns: the version's features, and optionally id, timestamp, label, prediction, probability or
    probability_<class>. An external version learns its features from this file.
    """
    owner = _version(model, version)
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="upload-") as scratch:
        upload = Path(scratch) / "upload"
        _spill(stream, upload)
        table = _read(upload, content_type)
        signature = signature_of(owner) if owner.signature else _learn_signature(model, table)
        table = _conform(table, signature)
    path, sha256 = write_table(table)
    return _record(model, owner, signature, table, path, sha256, actor)


def store_table(*, model: Model, version: Version | None, kind: str, table: pa.Table) -> Dataset:
    """Keep a table that Driftline made itself, such as a training snapshot; the same table twice is one file."""
    path, sha256 = write_table(table)
    return _dataset(model, version, kind, table, path, sha256)


def write_table(table: pa.Table) -> tuple[Path, str]:
    """Write a table as Parquet under the digest of its bytes, and return both."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    path = _folder() / f"{sha256}.parquet"
    write_file(path, content)
    return path, sha256


def path_of(dataset: Dataset) -> Path:
    """Tell where a data set's Parquet file lies."""
    return settings.HOME / dataset.path


def _version(model: Model, version: str | None) -> Version:
    if version is not None:
        known = model.versions.filter(version=version).exists()
        try:
            return (
                get_version(model=model, version=version)
                if known
                else external_version(model=model, version=version)
            )
        except ValueError as error:
            raise invalid("/version", f"{version[:64]!r} is not a version name.") from error
    champion = model.deployment.champion
    return champion or external_version(model=model, version="1")


def _folder() -> Path:
    folder = settings.HOME / "datasets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _spill(stream: IO[bytes], path: Path) -> None:
    too_large = Problem(413, "body_too_large", f"A reference may have up to {MAX_UPLOAD_BYTES >> 30} GiB.")
    with path.open("wb") as file:
        _, size = receive_file(stream, file, too_large=too_large)
    if size == 0:
        raise Problem(422, "no_rows", "The file is empty; send a CSV or Parquet file with a header and rows.")


def _read(path: Path, content_type: str) -> pa.Table:
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith((b"PK\x03\x04", b"ARROW1", b"\x1f\x8b")):
        raise Problem(415, "unsupported_media_type", "Send CSV or Parquet, not zip, gzip, xlsx or Arrow IPC.")
    is_parquet = magic.startswith(b"PAR1")
    if "parquet" in content_type and not is_parquet:
        raise Problem(422, "not_parquet", "The body is announced as Parquet but does not start like one.")
    return _read_parquet(path) if is_parquet else _read_csv(path)


def _read_parquet(path: Path) -> pa.Table:
    """Read a file whose size says nothing: until it is counted, each text is unpacked but once."""
    try:
        schema = pq.read_schema(path)
        text = [field.name for field in schema if _is_text(field.type)]
        file = pq.ParquetFile(path, read_dictionary=text, pre_buffer=False)
        _check_size(schema.names, file.metadata.num_rows)  # before any row is decoded
        _check_types(schema)
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Problem(422, "not_parquet", f"The Parquet file cannot be read: {str(error)[:200]}") from error
    _check_text(table)
    return pa.table({name: _plain(table[name]) for name in table.column_names})


def _check_types(schema: pa.Schema) -> None:
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if not (_is_number(kind) or _is_text(kind) or pa.types.is_temporal(kind) or pa.types.is_null(kind)):
            raise invalid(
                f"/{field.name[:MAX_NAME]}",
                f"The column {field.name[:64]!r} is of type {str(kind)[:64]}; use numbers, text or times.",
                "wrong_type",
            )


def _check_text(table: pa.Table) -> None:
    """Add up the text of all rows from its distinct values."""
    total = 0
    for column in table.columns:
        is_coded = pa.types.is_dictionary(column.type) and _is_text(column.type.value_type)
        for chunk in column.chunks if is_coded else ():
            sizes = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
            total += pc.sum(sizes.take(chunk.indices)).as_py() or 0
    if total > MAX_TEXT:
        raise Problem(
            413,
            "body_too_large",
            f"The text of its rows takes {total >> 20:,} MiB unpacked; a reference may have {MAX_TEXT >> 20:,}.",
        )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo the dictionary of a column of text, and widen half numbers, of which little can be computed."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def _read_csv(path: Path) -> pa.Table:
    names = _csv_header(path)
    _check_size(names, 1)
    if _count_quotes(path) % 2:
        raise Problem(
            422, "invalid_csv", "A quote is opened and never closed; the rest of the file would be one cell."
        )
    options = pyarrow.csv.ConvertOptions(
        null_values=["", "NA", "NaN", "nan", "null", "NULL", "None"], strings_can_be_null=True
    )
    try:
        table = pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, ValueError) as error:
        raise Problem(422, "invalid_csv", f"The CSV cannot be read: {str(error)[:200]}") from error
    _check_size(table.column_names, table.num_rows)
    for field in table.schema:
        if pa.types.is_binary(field.type):  # what text that cannot be read is taken for
            raise invalid(
                f"/{field.name}",
                f"The column {field.name[:64]!r} is not UTF-8 in every row.",
                "invalid_encoding",
            )
    return table


def _count_quotes(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))


def _csv_header(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return next(csv.reader([file.readline(1 << 20).decode("utf-8-sig")]))
    except (UnicodeDecodeError, csv.Error, StopIteration) as error:
        raise Problem(422, "invalid_header", "The first line must name the columns, in UTF-8.") from error


def _check_size(names: list[str], rows: int) -> None:
    if len(names) > MAX_COLUMNS:
        raise Problem(
            422, "too_many_columns", f"{len(names):,} columns; a reference may have {MAX_COLUMNS:,}."
        )
    if len(set(names)) != len(names) or any(not name.strip() for name in names):
        raise Problem(422, "invalid_header", "Each column needs a name of its own.")
    if any(len(name) > MAX_NAME or "\0" in name for name in names):
        raise Problem(422, "invalid_header", f"A name has up to {MAX_NAME} characters, and no NUL.")
    if rows == 0:
        raise Problem(422, "no_rows", "The file has a header but no rows.")
    if rows * len(names) > MAX_CELLS:
        raise Problem(
            413, "too_many_rows", f"{rows:,} rows of {len(names)} columns; send up to {MAX_CELLS:,} cells."
        )


def _is_reserved(name: str) -> bool:
    return name in RESERVED or name.startswith("probability_")


def _learn_signature(model: Model, table: pa.Table) -> Signature:
    """Take every column that has no meaning of its own as a feature; whole numbers stay numbers."""
    features = [
        Feature(name=field.name, type="float" if _is_number(field.type) else "string")
        for field in table.schema
        if not _is_reserved(field.name)
    ]
    if not features:
        raise Problem(
            422, "no_features", "No column is a feature; beside id, timestamp, label … the file has none."
        )
    classes = _classes(model, table)
    return Signature(
        features=features,
        inputs=[],
        outputs=[],
        prediction_output=None,
        probabilities_output=None,
        classes=classes,
        positive_class=_positive(classes) if model.task == ModelTask.BINARY else None,
        missing={},
        task=model.task,
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


_EXACT = 2.0**53  # below it a float64 tells each whole number from the next


def _classes(model: Model, table: pa.Table) -> list[str]:
    if model.task not in (ModelTask.BINARY, ModelTask.MULTICLASS):
        return []
    seen: set[str] = set()
    for name in ("label", "prediction"):
        if name in table.column_names:
            seen |= {text for text in pc.unique(_as_text(table[name])).to_pylist() if text is not None}
    if any("\0" in text for text in seen):
        raise invalid("/label", "A class may hold no NUL.", "invalid_text")
    return sorted(seen)


def _positive(classes: list[str]) -> str | None:
    return classes[-1] if classes else None


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write labels as people would: 1.0 as 1, true as 1."""
    if pa.types.is_floating(column.type):
        is_whole = pc.and_(pc.less(pc.abs(column), _EXACT), pc.equal(column, pc.floor(column)))
        column = column.cast(pa.int64()) if pc.all(is_whole).as_py() else column
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.string())


def _conform(table: pa.Table, signature: Signature) -> pa.Table:
    """Give every column the type that the version's signature says; a column that cannot be is refused by name."""
    columns: dict[str, pa.ChunkedArray] = {}
    for feature in signature.features:
        if feature.name not in table.column_names:
            raise invalid(f"/{feature.name}", f"The column {feature.name!r} is missing.", "missing_column")
        columns[feature.name] = _cast(
            table[feature.name], feature.name, "string" if feature.type == "string" else "f8"
        )
    if "timestamp" in table.column_names:
        columns["timestamp"] = _times(table["timestamp"])
    classified = signature.task in (ModelTask.BINARY, ModelTask.MULTICLASS)
    for name in ("label", "prediction"):
        if name in table.column_names:
            columns[name] = _as_text(table[name]) if classified else _cast(table[name], name, "f8")
    for name in table.column_names:
        if name == "id":
            columns[name] = table[name].cast(pa.string())
        elif name.startswith("probability"):
            columns[name] = _cast(table[name], name, "f8")
    return pa.table(columns)


def _cast(column: pa.ChunkedArray, name: str, kind: str) -> pa.ChunkedArray:
    try:
        if kind == "string":
            return column.cast(pa.string())
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        return column.cast(pa.float64())
    except pa.ArrowException as error:
        raise invalid(
            f"/{name}", f"The column {name!r} is not a number in every row.", "wrong_type"
        ) from error


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        if pa.types.is_string(column.type):
            column = pc.strptime(column, "%Y-%m-%dT%H:%M:%SZ", "us", error_is_null=False)
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        return column.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowException as error:
        raise invalid(
            "/timestamp",
            "The column 'timestamp' is not a time such as 2026-01-31T12:00:00Z.",
            "invalid_timestamp",
        ) from error


def _record(
    model: Model, version: Version, signature: Signature, table: pa.Table, path: Path, sha256: str, actor: str
) -> Dataset:
    with transaction.atomic():
        if version.signature is None:
            version.signature = msgspec.to_builtins(signature)
            version.save(update_fields=["signature"])
            publish_on_commit()
        dataset = _dataset(model, version, "reference", table, path, sha256)
        record_audit(
            project=model.project,
            actor=actor,
            action="reference.store",
            subject=str(version),
            after={"sha256": sha256, "rows": table.num_rows},
        )
        reference_stored.send(sender=Dataset, dataset=dataset)
    return dataset


def _dataset(
    model: Model, version: Version | None, kind: str, table: pa.Table, path: Path, sha256: str
) -> Dataset:
    span = (
        pc.min_max(table["timestamp"]).as_py()
        if "timestamp" in table.column_names
        else {"min": None, "max": None}
    )
    return Dataset.objects.create(
        model=model,
        version=version,
        kind=kind,
        path=str(path.relative_to(settings.HOME)),
        sha256=sha256,
        rows=table.num_rows,
        columns=table.column_names,
        start=span["min"],
        end=span["max"],
    )
