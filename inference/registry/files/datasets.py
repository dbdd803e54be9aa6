"""References that people upload: read as CSV or Parquet, checked against the version, kept as Parquet."""

import hashlib
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from django.conf import settings
from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.durable_files import sync_to_disk
from driftline.base.errors import Problem, invalid
from driftline.base.http.uploads import MAX_UPLOAD_BYTES, receive_file
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from inference.data_files.columns import FileReading
from inference.data_files.guesses import KnownModel
from inference.data_files.preview import UnreadableHead
from inference.data_files.scored_class import class_texts, find_scored_class
from inference.data_files.unseen import reading_as_named, refuse_doubtful_columns
from inference.data_files.vectors import is_vector, lengths_of, matrix_of
from inference.registry.contract.positive_class import check_positive_class, with_positive_class
from inference.registry.files.reading import RESERVED, is_number, read_reference
from inference.registry.hooks import list_dependents
from inference.registry.models import Dataset, Model, ModelTask, Version
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.selectors import signature_of
from inference.registry.services import refuse_taken_parts
from inference.registry.signals import classes_changed, reference_stored, signature_learnt_again
from inference.registry.vector_dimensions import dimensions_of, remember_dimensions
from inference.registry.versions import external_version, is_version_name
from inference.signatures import Feature, Signature
from inference.vector_names import MAX_DIMENSION, MIN_DIMENSION
from inference.vectors import describe_vectors

_BEYOND_MICROSECONDS = r"(\.\d{6})\d+"


def store_reference(
    *, model: Model, version: str | None, stream: IO[bytes], content_type: str, actor: str,
    reading: FileReading | None = None, replace: bool = False, positive_class: str = "",
) -> Dataset:  # fmt: skip
    """Keep an uploaded reference of `version` (the champion when None) and tell the monitors about it.

    Columns: the version's features, and optionally id, timestamp, label, prediction, probability or
    probability_<class>; with a `reading` what that says of them. An external version learns its features from this
    file, and with `replace` does so again although something depends on those that it has. Its `positive_class` is
    the class that the probabilities are of; where none is named, the rows of its first file show which.
    """
    owner = _version(model, version)
    named = version or "1"
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="upload-") as scratch:
        upload = Path(scratch) / "upload"
        _spill(stream, upload)
        table, dimensions = _described(
            read_reference(upload, content_type, _certain(upload, reading, model, owner)), owner
        )
        refuse_taken_parts(
            [name for name in model.text_features if name in table.column_names], table.column_names, "/"
        )
        signature = _signature(model, owner, table, positive_class, replace=replace)
        table = _conform(table, signature)
    path, sha256 = write_table(table)
    return _record(model, owner or named, signature, table, path, sha256, actor, dimensions)


def _certain(
    upload: Path, reading: FileReading | None, model: Model, owner: Version | None
) -> FileReading | None:
    """Return how a file is read: as somebody chose, or as is certain; raises Problem where it is not."""
    if reading is not None:
        return reading
    try:
        found = reading_as_named(upload)
        if owner is None or owner.signature is None:
            refuse_doubtful_columns(upload, found, KnownModel(model.task), model.text_features)
    except UnreadableHead as error:
        if error.code.startswith("doubtful"):
            raise Problem(422, error.code, error.detail) from error
        return None  # whoever reads the whole file says more
    return found


def _signature(
    model: Model, owner: Version | None, table: pa.Table, positive_class: str, *, replace: bool
) -> Signature:
    """Return the version's signature; one that was learnt from a reference is learnt anew from columns that differ.

    Raises Problem where something depends on the features that would go.
    """
    if owner is None or owner.signature is None:
        return _learn_signature(model, table, positive_class)
    known = with_positive_class(owner, positive_class) if positive_class else signature_of(owner)
    if not owner.is_external or _has_features(table, known):
        return known
    learnt = _learn_signature(model, table, positive_class, known.positive_class)
    lost = sorted({one.name for one in known.features} - {one.name for one in learnt.features})
    if dependents := list_dependents(owner, lost) if not replace else []:
        what = f"lacks {', '.join(map(repr, lost[:5]))}" if lost else "has columns of other types"
        raise Problem(
            409,
            "reference_in_use",
            f"The file {what}. On the features that version {owner.version} has now depend: {'; '.join(dependents)}. "
            "Confirm that they are replaced (replace=true), or mend the file.",
        )
    return learnt


def _has_features(table: pa.Table, signature: Signature) -> bool:
    names = set(table.column_names)
    return all(
        feature.name in names and (feature.type == "string" or _is_numeric(table[feature.name]))
        for feature in signature.features
    )


def _is_numeric(column: pa.ChunkedArray) -> bool:
    try:
        _cast(column, "", "f8")
    except Problem:
        return False
    return True


def store_table(*, model: Model, version: Version | None, kind: str, table: pa.Table) -> Dataset:
    """Keep a table that Driftline made itself, such as a training snapshot; the same table twice is one file."""
    path, sha256 = write_table(table)
    return _dataset(model, version, kind, table, path, sha256)


def write_table(table: pa.Table) -> tuple[Path, str]:
    """Write a table as Parquet under the digest of its bytes, and return both; the same table again changes nothing."""
    folder = _folder()
    with tempfile.TemporaryDirectory(dir=folder, prefix="upload-") as scratch:
        draft = Path(scratch) / "table"
        pq.write_table(table, draft, compression="zstd")
        with draft.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = folder / f"{sha256}.parquet"
        if not path.exists():
            sync_to_disk(draft)
            draft.replace(path)
    sync_to_disk(folder)
    return path, sha256


def remove_files(paths: Collection[str]) -> None:
    """Remove the files of data sets that were deleted, except those that another data set has too."""
    with transaction.atomic():
        lock(AdvisoryLock.DATASET_FILES)
        kept = set(Dataset.objects.filter(path__in=paths).values_list("path", flat=True))
        for path in {*paths} - kept:
            (settings.HOME / path).unlink(missing_ok=True)


def path_of(dataset: Dataset) -> Path:
    """Return where a data set's Parquet file lies."""
    return settings.HOME / dataset.path


def _version(model: Model, version: str | None) -> Version | None:
    """Return the version that a reference is of; None where it is made when the reference is stored."""
    if version is None:
        return model.deployment.champion or model.versions.filter(version="1").first()
    if (known := model.versions.filter(version=version).first()) is not None:
        return known
    if not is_version_name(version):
        raise invalid("/version", f"{version[:64]!r} is not a version name.")
    return None


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


def _described(table: pa.Table, owner: Version | None) -> tuple[pa.Table, dict[str, int]]:
    """Put what is kept of vectors in their place, as the log does; also returns how many numbers each has.

    Raises Problem where they are not of one dimension, which is that of the version's vectors.
    """
    known = dimensions_of([owner.pk]) if owner else {}
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    found: dict[str, int] = {}
    for name in table.column_names:
        if not is_vector(table[name].type):
            columns[name] = table[name]
            continue
        vectors = table[name].combine_chunks()
        found[name] = _dimension(name, vectors, known.get((owner.pk if owner else 0, name)))
        places = np.flatnonzero(lengths_of(vectors))
        for part, values in describe_vectors(name, matrix_of(vectors, places)).items():
            if part in table.column_names:
                detail = (
                    f"{part!r} is a number that is made of the vector {name!r}; rename one of the columns."
                )
                raise invalid(f"/{part}", detail, "name_taken")
            column = np.full(len(vectors), np.nan)
            column[places] = values
            columns[part] = pa.array(column, from_pandas=True)
    return (pa.table(columns) if found else table), found


def _dimension(name: str, vectors: pa.Array, known: int | None) -> int:
    """Return how many numbers a column's vectors have; raises Problem where they differ, or from those `known`."""
    lengths = sorted(set(lengths_of(vectors)[vectors.is_valid().to_numpy(zero_copy_only=False)].tolist()))
    named = name[:64]
    if not lengths or not MIN_DIMENSION <= lengths[0] <= lengths[-1] <= MAX_DIMENSION:
        detail = f"The vectors {named!r} need {MIN_DIMENSION} to {MAX_DIMENSION:,} numbers in some row."
        raise invalid(f"/{named}", detail, "invalid_vector")
    if len(lengths) > 1:
        detail = (
            f"The vectors {named!r} have {lengths[0]:,} to {lengths[-1]:,} numbers; give all of them as many."
        )
        raise invalid(f"/{named}", detail, "wrong_dimension")
    if known not in (None, lengths[0]):
        detail = (
            f"The vectors {named!r} of this version have {known:,} numbers, and those of the file {lengths[0]:,}. "
            "Upload what another encoder made for another version."
        )
        raise invalid(f"/{named}", detail, "wrong_dimension")
    return lengths[0]


def _is_reserved(name: str) -> bool:
    return name in RESERVED or name.startswith("probability_")


def _learn_signature(
    model: Model, table: pa.Table, positive_class: str, former_positive: str | None = None
) -> Signature:
    """Take every column that has no meaning of its own as a feature; whole numbers stay numbers."""
    features = [
        Feature(name=field.name, type="float" if is_number(field.type) else "string")
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
        positive_class=_positive_class(model, table, classes, positive_class, former_positive),
        missing={},
        task=model.task,
    )


def _classes(model: Model, table: pa.Table) -> list[str]:
    if model.task not in (ModelTask.BINARY, ModelTask.MULTICLASS):
        return []
    seen: set[str] = set()
    for name in ("label", "prediction"):
        if name in table.column_names:
            seen |= {text for text in pc.unique(class_texts(table[name])).to_pylist() if text is not None}
    if any("\0" in text for text in seen):
        raise invalid("/label", "A class may hold no NUL.", "invalid_text")
    return sorted(seen)


def _positive_class(
    model: Model, table: pa.Table, classes: list[str], chosen: str, former: str | None
) -> str | None:
    if chosen:
        check_positive_class(chosen, task=model.task, classes=classes)
        return chosen
    if model.task != ModelTask.BINARY or not classes:
        return None
    return former if former in classes else _scored_class(table) or classes[-1]


def _scored_class(table: pa.Table) -> str | None:
    """Return the class that the rows show the column `probability` to be of."""
    if "probability" not in table.column_names:
        return None
    outcomes = [class_texts(table[name]) for name in ("prediction", "label") if name in table.column_names]
    return find_scored_class(outcomes, _cast(table["probability"], "probability", "f8"))


def _conform(table: pa.Table, signature: Signature) -> pa.Table:
    """Convert every column to the type that the version's signature says; refuse one that cannot be by its name."""
    columns: dict[str, pa.ChunkedArray] = {}
    own = dict(zip(table.column_names, table.columns, strict=True))  # Arrow lists its names anew each time
    for feature in signature.features:
        if feature.name not in own:
            raise invalid(f"/{feature.name}", f"The column {feature.name!r} is missing.", "missing_column")
        columns[feature.name] = _cast(
            own[feature.name], feature.name, "string" if feature.type == "string" else "f8"
        )
    if "timestamp" in own:
        columns["timestamp"] = _times(own["timestamp"])
    classified = signature.task in (ModelTask.BINARY, ModelTask.MULTICLASS)
    for name in ("label", "prediction"):
        if name in own:
            columns[name] = class_texts(own[name]) if classified else _cast(own[name], name, "f8")
    for name, column in own.items():
        if name == "id":
            columns[name] = column.cast(pa.string())
        elif name.startswith("probability"):
            columns[name] = _cast(column, name, "f8")
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
            column = pc.replace_substring_regex(column, _BEYOND_MICROSECONDS, r"\1")
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        return column.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowException as error:
        raise invalid(
            "/timestamp",
            "The column 'timestamp' has a value that is not a time with a zone, such as 2026-01-31T12:00:00Z.",
            "invalid_timestamp",
        ) from error


def _record(
    model: Model,
    owner: Version | str,
    signature: Signature,
    table: pa.Table,
    path: Path,
    sha256: str,
    actor: str,
    dimensions: Mapping[str, int],
) -> Dataset:
    with transaction.atomic():
        version = owner if isinstance(owner, Version) else external_version(model=model, version=owner)
        is_first, before = version.signature is None, signature_of(version)
        if is_first or before != signature:
            version.signature = msgspec.to_builtins(signature)
            version.save(update_fields=["signature"])
            publish_on_commit(model)
            if not is_first:
                signature_learnt_again.send(sender=Version, version=version)
            if (before.classes, before.positive_class) != (signature.classes, signature.positive_class):
                classes_changed.send(sender=Version, version=version)
        remember_dimensions(version.pk, dimensions)
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
    """Record a table that was written; the lock keeps its file, which may be that of a data set being deleted."""
    span = (
        pc.min_max(table["timestamp"]).as_py()
        if "timestamp" in table.column_names
        else {"min": None, "max": None}
    )
    with transaction.atomic():
        lock(AdvisoryLock.DATASET_FILES, shared=True)
        if not path.exists():
            write_table(table)
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
