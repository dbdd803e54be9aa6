"""Bulk imports over HTTP: a file is taken at once and imported by a worker."""

import tempfile
from typing import IO, cast
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.errors import invalid
from driftline.base.http.downloads import Download
from driftline.base.http.exports import CSV, PARQUET
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import media_type, moment, refuse_parameter
from driftline.base.http.responses import Page, files
from driftline.base.strict_json import printable
from inference.prediction_log.imports import bad_rows, services
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.reading.layout import FileLayout
from inference.prediction_log.imports.schemas import ImportOut, TakenImportOut
from inference.prediction_log.imports.selectors import get_import, imports_of
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.exports import Wanted, export_predictions
from inference.registry.models import Model
from inference.registry.selectors import get_model

router = Router(tags=["log"])

FORM = "multipart/form-data"
TYPES = (CSV, PARQUET, "application/octet-stream", FORM)
_FILE = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {"requestBody": {"required": True, "content": {CSV: _FILE, PARQUET: _FILE}}}


@router.post(
    "/models/{name}/imports/predictions",
    auth=Scoped(SCOPE_OF["predictions"]),
    openapi_extra=_UPLOAD,
    response={200: TakenImportOut, 202: TakenImportOut},
)
def import_predictions(
    request: HttpRequest,
    response: HttpResponse,
    name: str,
    version: str = Query("", max_length=64),
    force: bool = False,
) -> Status[TakenImportOut]:
    """Import a CSV or Parquet file of predictions: 202 with an import to follow under `Location`.

    Columns: timestamp, prediction; where there are, id, version, probability or probability_<class>, latency_ms, role,
    subject, tag_<name>, label (needs scope label too) and label_timestamp; every other column is a feature. Rows
    without a version are `version`'s, or the champion's. The same file again is answered with 200 and the import that
    took it, `existing` being true, unless that one failed or was cancelled; `force` imports it once more.
    """
    return _take(request, response, name, Import.Kind.PREDICTIONS, version, force=force)


@router.post(
    "/models/{name}/imports/labels",
    auth=Scoped(SCOPE_OF["labels"]),
    openapi_extra=_UPLOAD,
    response={200: TakenImportOut, 202: TakenImportOut},
)
def import_labels(
    request: HttpRequest, response: HttpResponse, name: str, force: bool = False
) -> Status[TakenImportOut]:
    """Import a CSV or Parquet file of labels with the columns id, label and, where known, timestamp.

    The same file again is answered as for predictions.
    """
    return _take(request, response, name, Import.Kind.LABELS, "", force=force)


@router.get("/models/{name}/imports", auth=Scoped(Scope.READ), response=Page[ImportOut])
def list_imports(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[ImportOut]:
    """List a model's imports, newest first."""
    return page(imports_of(_model(request, name)), ImportOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/imports/{int:import_id}", auth=Scoped(Scope.READ), response=ImportOut)
def read_import(request: HttpRequest, name: str, import_id: int) -> ImportOut:
    """Return how far an import is; `rows` are read, `accepted` were new, `rejected` are in the file of bad rows."""
    return ImportOut.of(get_import(model=_model(request, name), import_id=import_id))


@router.get(
    "/models/{name}/imports/{int:import_id}/bad-rows", auth=Scoped(Scope.READ), openapi_extra=files(CSV)
)
def read_bad_rows(request: HttpRequest, name: str, import_id: int) -> Download:
    """Download the rows that were refused, as CSV: number and line, column, code, reason, and the row's cells.

    Holds the first 100,000, for 30 days. Mended, the file can be imported as it is: columns `import_...` are left out.
    """
    job = get_import(model=_model(request, name), import_id=import_id)
    file = bad_rows.open_bad_rows(job)
    name = f"{job.model.name}-import-{job.pk}-bad-rows.csv"
    return Download(request, file, length=job.bad_bytes, name=name, content_type=f"{CSV}; charset=utf-8")


@router.post(
    "/models/{name}/imports/{int:import_id}/cancel",
    auth=Scoped(SCOPE_OF["import.cancel"]),
    response=ImportOut,
)
def cancel_import(request: HttpRequest, name: str, import_id: int) -> ImportOut:
    """End an import; the rows that are in the log stay."""
    job = get_import(model=_model(request, name), import_id=import_id)
    return ImportOut.of(services.cancel(job=job, actor=caller_of(request).actor))


@router.get("/models/{name}/export", auth=Scoped(Scope.READ), openapi_extra=files(PARQUET))
def export_log(
    request: HttpRequest,
    name: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
    role: str = "",
    version: str = Query("", max_length=64),
) -> Download:
    """Download the log with its labels as Parquet, as an import takes it; each time leaves an audit row.

    `from` and `to` are RFC 3339 or a distance back such as -7d; `role` and `version` narrow it. Rows that are damaged
    in the log are left out: their number is in `Driftline-Unreadable-Rows`, their times in the file's metadata.
    """
    if role and role not in PredictionRole.values:
        raise refuse_parameter(
            "role", f"role is '{printable(role)}'; use one of {', '.join(PredictionRole.values)}."
        )
    wanted = Wanted(
        _model(request, name),
        moment("from", start, now=now()) if start else None,
        moment("to", end, now=now()) if end else None,
        role,
        version,
    )
    file = tempfile.TemporaryFile(dir=settings.HOME)  # noqa: SIM115  the response closes it
    try:
        exported = export_predictions(wanted=wanted, sink=file, actor=caller_of(request).actor)
    except BaseException:
        file.close()
        raise
    length = file.tell()
    file.seek(0)
    response = Download(
        request, file, length=length, name=f"{name}-predictions.parquet", content_type=PARQUET
    )
    response["Driftline-Unreadable-Rows"] = str(exported.unreadable_rows)
    return response


def _take(
    request: HttpRequest, response: HttpResponse, name: str, kind: str, version: str, *, force: bool
) -> Status[TakenImportOut]:
    caller = caller_of(request)
    model = _model(request, name)
    stream, file_name = _uploaded(request)
    job, is_new = services.import_upload(
        model=model,
        kind=kind,
        stream=stream,
        name=file_name,
        version=version,
        sender=services.FileSender(caller.actor, caller.source),
        allow=lambda layout: _allow(caller, kind, layout),
        force=force,
    )
    response["Location"] = f"/api/v1/models/{quote(name)}/imports/{job.pk}"
    return Status(202 if is_new else 200, TakenImportOut.of(job, existing=not is_new))


def _uploaded(request: HttpRequest) -> tuple[IO[bytes], str]:
    if media_type(request, TYPES) != FORM:
        return cast(IO[bytes], request), "upload"
    file = request.FILES.get("file")
    if file is None:
        raise invalid("/file", "The form has no part 'file' that holds the CSV or Parquet.", "missing_field")
    return cast(IO[bytes], file), file.name or "upload"


def _model(request: HttpRequest, name: str) -> Model:
    return get_model(project=caller_of(request).project, name=name)


def _allow(caller: Caller, kind: str, layout: FileLayout) -> None:
    if kind == Import.Kind.PREDICTIONS and "label" in layout.own:
        caller.require(Scope.LABEL)
