"""Files over HTTP that are looked at before anything of them is stored: upload, preview, confirm."""

from typing import IO, Annotated, Any, Literal, Self, cast
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from msgspec import field
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.http.exports import CSV, PARQUET
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import media_type
from driftline.base.http.responses import Page, ResponseBody, Time, one_of
from inference.data_files.columns import ColumnRole, FileKind
from inference.data_files.formats import DELIMITERS, ENCODINGS
from inference.data_files.preview import Preview
from inference.prediction_log.imports import staging
from inference.prediction_log.imports.confirming import confirm_file
from inference.prediction_log.imports.models import UploadedFile
from inference.prediction_log.imports.reading.layout import FileLayout
from inference.prediction_log.imports.schemas import TakenImportOut
from inference.prediction_log.imports.services import FileSender
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.definitions.models import Reference
from monitors.definitions.schemas import ReferenceOut

router = Router(tags=["log"])

FORM = "multipart/form-data"
_TYPES = (CSV, PARQUET, "application/octet-stream", FORM)
_FILE = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {"requestBody": {"required": True, "content": {CSV: _FILE, PARQUET: _FILE}}}


class WaitingFileOut(ResponseBody, frozen=True):
    """A file that waits to be confirmed; it is forgotten after a day."""

    id: int
    file: str
    size: int
    sha256: str
    created_by: str
    created_at: Time

    @classmethod
    def of(cls, file: UploadedFile, **more: Any) -> Self:
        """Write a file, and `more` fields of a subclass."""
        return cls(
            id=file.pk,
            file=file.file_name,
            size=file.size,
            sha256=file.sha256,
            created_by=file.created_by,
            created_at=file.created_at,
            **more,
        )


class FileFormatOut(ResponseBody, frozen=True):
    """How a file is written; of Parquet nothing but `kind` matters."""

    kind: Annotated[str, one_of(["csv", "parquet"])]
    encoding: Annotated[str, one_of(ENCODINGS)]
    delimiter: Annotated[str, one_of(DELIMITERS)]
    decimal: Annotated[str, one_of([".", ","])]
    has_header: bool


class FileColumnOut(ResponseBody, frozen=True):
    """A column, the role that it has or seems to have, why, and what should be looked at."""

    name: str
    role: Annotated[str, one_of(ColumnRole)]
    why: str
    warnings: list[str]
    examples: list[str]


class FilePreviewOut(WaitingFileOut, frozen=True):
    """A file as it would be stored: `rows` are the first ones, with a value for each of `stored_columns`.

    The probability of a reference may be that of one of its `classes`; its rows show which, the `positive_class`.
    """

    kind: Annotated[str, one_of(FileKind)]
    format: FileFormatOut
    time_zone: str
    date_order: Annotated[str, one_of(["day_first", "month_first"])] | None
    columns: list[FileColumnOut]
    warnings: list[str]
    classes: list[str]
    positive_class: str | None
    stored_columns: list[str]
    rows: list[list[str | None]]

    @classmethod
    def of_preview(cls, file: UploadedFile, shown: Preview) -> Self:
        """Write a file with what its preview shows."""
        found = shown.reading.format
        return cls.of(
            file,
            kind=shown.kind,
            format=FileFormatOut(
                found.kind, found.encoding, found.delimiter, found.decimal, found.has_header
            ),
            time_zone=shown.reading.time_zone,
            date_order=shown.reading.date_order,
            columns=[
                FileColumnOut(one.name, one.role, one.why, one.warnings, one.examples)
                for one in shown.columns
            ],
            warnings=shown.warnings,
            classes=shown.classes,
            positive_class=shown.positive_class,
            stored_columns=shown.stored_names,
            rows=shown.rows,
        )


class ChosenFormat(Body):
    """How a file is written; what is left out is found out."""

    encoding: Literal["utf-8", "utf-16-le", "utf-16-be", "cp1252", "latin-1"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."
    has_header: bool = True


class FileChoice(Body):
    """What a file brings and how it is read; what is left out is guessed, as the preview shows it."""

    kind: Literal["reference", "predictions", "labels"] | None = None
    columns: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=20)]] = Field(
        {}, max_length=5_000, description=f"column -> {', '.join(ColumnRole)}"
    )
    format: ChosenFormat = Field(default_factory=ChosenFormat)
    time_zone: str = Field("", max_length=64, description="of times that name none, such as Europe/Berlin")
    date_order: Literal["", "day_first", "month_first"] = ""

    def choice(self) -> staging.ReadingChoice:
        """Return the choice as the service takes it; raises Problem for a role that is none."""
        for name, role in self.columns.items():
            if role not in list(ColumnRole):
                detail = f"{role[:20]!r} is no role of a column; use one of {', '.join(ColumnRole)}."
                raise invalid(f"/columns/{name}", detail, "unknown_role")
        return staging.ReadingChoice(
            kind=FileKind(self.kind) if self.kind else None,
            columns={name: ColumnRole(role) for name, role in self.columns.items()},
            format=self.format.given() if "format" in self.model_fields_set else {},
            time_zone=self.time_zone,
            date_order=self.date_order,
        )


class FileConfirmation(FileChoice):
    version: str = Field("", max_length=64, description="of rows that name none; the champion when empty")
    force: bool = Field(False, description="import it once more, if the same file was imported before")
    replace: bool = Field(False, description="replace a reference although something depends on its columns")
    positive_class: str = Field(
        "",
        max_length=200,
        description="the class that a reference's probability is of; as its rows show when empty",
    )


class StoredFileOut(ResponseBody, frozen=True):
    """What a file was stored as: an import to follow, or a reference that is being built."""

    kind: Annotated[str, one_of(FileKind)]
    import_: TakenImportOut | None = field(name="import", default=None)
    reference: ReferenceOut | None = None


@router.post(
    "/models/{name}/files",
    auth=Scoped(SCOPE_OF["file"]),
    openapi_extra=_UPLOAD,
    response={201: FilePreviewOut},
)
def upload_file(request: HttpRequest, response: HttpResponse, name: str) -> Status[FilePreviewOut]:
    """Upload a file and see it as it would be stored: its format, the role of each column and why, and 20 rows.

    Nothing is stored until it is confirmed. CSV of any delimiter, in UTF-8, UTF-16 or Latin-1, and Parquet are read.
    """
    model = _model(request, name)
    stream, file_name = _uploaded(request)
    file = staging.stage_file(model=model, stream=stream, name=file_name, actor=caller_of(request).actor)
    response["Location"] = f"/api/v1/models/{quote(name)}/files/{file.pk}"
    return Status(201, FilePreviewOut.of_preview(file, staging.preview_file(file)))


@router.get("/models/{name}/files", auth=Scoped(SCOPE_OF["file"]), response=Page[WaitingFileOut])
def list_files(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[WaitingFileOut]:
    """List the files of a model that wait to be confirmed, newest first.

    A token without the scope read sees those that it sent.
    """
    waiting = staging.waiting_files(_model(request, name), sent_by=_only_sender(request))
    return page(waiting, WaitingFileOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/files/{int:file_id}", auth=Scoped(SCOPE_OF["file"]), response=FilePreviewOut)
def read_file(request: HttpRequest, name: str, file_id: int) -> FilePreviewOut:
    """See a file that waits as it would be stored, by what is guessed of it."""
    file = _file(request, name, file_id)
    return FilePreviewOut.of_preview(file, staging.preview_file(file))


@router.post(
    "/models/{name}/files/{int:file_id}/preview", auth=Scoped(SCOPE_OF["file"]), response=FilePreviewOut
)
def preview_file(request: HttpRequest, name: str, file_id: int, body: FileChoice) -> FilePreviewOut:
    """See the file again with other roles, format or time zone; nothing is stored, and nothing of it is kept."""
    file = _file(request, name, file_id)
    return FilePreviewOut.of_preview(file, staging.preview_file(file, body.choice()))


@router.post(
    "/models/{name}/files/{int:file_id}/confirm",
    auth=Scoped(SCOPE_OF["file"]),
    response={200: StoredFileOut, 202: StoredFileOut},
)
def confirm(
    request: HttpRequest, response: HttpResponse, name: str, file_id: int, body: FileConfirmation
) -> Status[StoredFileOut]:
    """Store a file as its preview shows it: 202 with the reference or the import that came of it.

    A reference needs the scope write, predictions log, labels label. A file that is refused still waits. How it was
    read is remembered: the next file of the model is previewed so.
    """
    caller = caller_of(request)
    file = _file(request, name, file_id)
    stored = confirm_file(
        file=file,
        choice=body.choice(),
        version=body.version,
        sender=FileSender(caller.actor, caller.source),
        replace=body.replace,
        positive_class=body.positive_class,
        force=body.force,
        allow=lambda kind, layout: _allow(caller, kind, layout),
    )
    if stored.job is not None:
        response["Location"] = f"/api/v1/models/{quote(name)}/imports/{stored.job.pk}"
        job = TakenImportOut.of(stored.job, existing=not stored.is_new)
        return Status(202 if stored.is_new else 200, StoredFileOut(stored.kind, import_=job))
    response["Location"] = f"/api/v1/models/{quote(name)}/reference"
    found = Reference.objects.filter(dataset=stored.dataset).select_related("dataset", "version").latest("pk")
    return Status(202, StoredFileOut(stored.kind, reference=ReferenceOut.of(found)))


@router.delete("/models/{name}/files/{int:file_id}", auth=Scoped(SCOPE_OF["file"]), response={204: None})
def discard(request: HttpRequest, name: str, file_id: int) -> Status[None]:
    """Forget a file that waits."""
    staging.discard_file(_file(request, name, file_id))
    return Status(204, None)


def _allow(caller: Caller, kind: FileKind, layout: FileLayout | None) -> None:
    caller.require(SCOPE_OF[kind])
    if layout is not None and kind == FileKind.PREDICTIONS and "label" in layout.own:
        caller.require(SCOPE_OF["labels"])


def _uploaded(request: HttpRequest) -> tuple[IO[bytes], str]:
    if media_type(request, _TYPES) != FORM:
        return cast(IO[bytes], request), "upload"
    file = request.FILES.get("file")
    if file is None:
        raise invalid("/file", "The form has no part 'file' that holds the CSV or Parquet.", "missing_field")
    return cast(IO[bytes], file), file.name or "upload"


def _file(request: HttpRequest, name: str, file_id: int) -> UploadedFile:
    return staging.get_waiting_file(
        model=_model(request, name), file_id=file_id, sent_by=_only_sender(request)
    )


def _only_sender(request: HttpRequest) -> str | None:
    """Return the sender of the files that a request is about: a token that may not read sees what it sent alone."""
    caller = caller_of(request)
    return None if Scope.READ in caller.scopes else caller.actor


def _model(request: HttpRequest, name: str) -> Model:
    return get_model(project=caller_of(request).project, name=name)
