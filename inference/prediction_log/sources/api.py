"""Over HTTP: sources, what a mapping makes of their messages, and their dead letters."""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from driftline.base.keys.secrets_at_rest import MAX_SECRET_BYTES
from inference.prediction_log.sources import retrying, selectors, services
from inference.prediction_log.sources.kinds import SourceSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.reading.preview import preview_stream
from inference.prediction_log.sources.schemas import (
    DeadLetterOut,
    DiscardedLettersOut,
    PreviewedMessageOut,
    RetriedLettersOut,
    SourceOut,
    SourcePositionOut,
    SourcePreviewOut,
)
from inference.registry.selectors import get_model

router = Router(tags=["sources"])
_CHANGES = Scoped(SCOPE_OF["source"])
_CONFIRM = Query("", max_length=200)


class NewSource(Body):
    """The kind is that of `settings`. `secret` is a password, the private key of the client's certificate as PEM, or a
    secret access key; `registry_secret` a password or a token for the schema registry."""

    name: str = Field(max_length=100)
    model: str = Field(max_length=100)
    what: str = Field(max_length=11, json_schema_extra={"enum": list(Source.What.values)})
    settings: SourceSettings
    mapping: SourceMapping = SourceMapping()
    secret: str = Field("", max_length=MAX_SECRET_BYTES)
    registry_secret: str = Field("", max_length=MAX_SECRET_BYTES)
    enabled: bool = True


class SourceChanges(Body):
    """Settings and mapping are replaced as a whole; a secret left out stays while servers and user do."""

    name: str | None = Field(None, max_length=100)
    settings: SourceSettings | None = None
    mapping: SourceMapping | None = None
    secret: str | None = Field(None, max_length=MAX_SECRET_BYTES)
    registry_secret: str | None = Field(None, max_length=MAX_SECRET_BYTES)
    enabled: bool | None = None


class PreviewedSource(Body):
    """What to read, and how; with `source`, its secrets are used where servers and user are its own."""

    model: str = Field(max_length=100)
    what: str = Field(max_length=11, json_schema_extra={"enum": list(Source.What.values)})
    settings: SourceSettings
    mapping: SourceMapping = SourceMapping()
    secret: str = Field("", max_length=MAX_SECRET_BYTES)
    registry_secret: str = Field("", max_length=MAX_SECRET_BYTES)
    source: str = Field("", max_length=100)


# -- sources -----------------------------------------------------------------------------------------------------------
@router.get("/sources", auth=Scoped(Scope.READ), response=Page[SourceOut])
def list_sources(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[SourceOut]:
    """List the project's sources with their state."""
    rows = selectors.sources(project=caller_of(request).project)
    listed = page(rows, lambda source: source, by=("name",), cursor=cursor, limit=limit)
    statuses = selectors.statuses_of(listed.items)
    return Page(items=[SourceOut.of(one, statuses[one.pk]) for one in listed.items], next=listed.next)


@router.post("/sources", auth=_CHANGES, response={201: SourceOut})
def create_source(request: HttpRequest, body: NewSource) -> Status[SourceOut]:
    """Create a source. It logs on behalf of its maker, who needs the scope of what it logs too: log, or label."""
    caller = caller_of(request)
    _check_logging(caller, body.what)
    given = {name: getattr(body, name) for name in NewSource.model_fields if name != "model"}
    model = get_model(project=caller.project, name=body.model)
    source = services.create_source(project=caller.project, model=model, actor=caller.actor, **given)
    return Status(201, _out(source))


@router.post("/sources/preview", auth=_CHANGES, response=SourcePreviewOut)
def preview_source(request: HttpRequest, body: PreviewedSource) -> SourcePreviewOut:
    """Read the newest ten messages and show what each becomes; nothing is stored, and no consumer loses any."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=body.model)
    source = _source(request, body.source) if body.source else None
    shown = preview_stream(
        body.settings,
        secret=body.secret,
        registry_secret=body.registry_secret,
        source=source,
        mapping=body.mapping,
        what=body.what,
        model=model,
        now=now(),
    )
    return SourcePreviewOut(messages=[PreviewedMessageOut.of(one) for one in shown])


@router.get("/sources/{name}", auth=Scoped(Scope.READ), response=SourceOut)
def read_source(request: HttpRequest, name: str) -> SourceOut:
    """Read one source with its state."""
    return _out(_source(request, name))


@router.patch("/sources/{name}", auth=_CHANGES, response=SourceOut)
def change_source(request: HttpRequest, name: str, body: SourceChanges) -> SourceOut:
    """Change the fields that are sent; its consumers begin anew within seconds, where the table says."""
    caller = caller_of(request)
    source = _source(request, name)
    if body.settings is not None or body.mapping is not None:
        _check_logging(caller, source.what)
    given = {field: value for field, value in body.given().items() if value is not None}
    return _out(services.update_source(source=source, actor=caller.actor, **given))


@router.post("/sources/{name}/pause", auth=_CHANGES, response=SourceOut)
def pause_source(request: HttpRequest, name: str) -> SourceOut:
    """Stop a source's consumers within seconds; the positions stay."""
    source = _source(request, name)
    return _out(services.set_enabled(source=source, actor=caller_of(request).actor, enabled=False))


@router.post("/sources/{name}/resume", auth=_CHANGES, response=SourceOut)
def resume_source(request: HttpRequest, name: str) -> SourceOut:
    """Read a source again from where it was paused."""
    source = _source(request, name)
    return _out(services.set_enabled(source=source, actor=caller_of(request).actor, enabled=True))


@router.delete("/sources/{name}", auth=_CHANGES, response={204: None})
def delete_source(request: HttpRequest, name: str, confirm: str = _CONFIRM) -> Status[None]:
    """Delete a source with its positions and dead letters; `confirm` is its name. The rows that it brought stay."""
    services.delete_source(source=_source(request, name), confirm=confirm, actor=caller_of(request).actor)
    return Status(204, None)


@router.get("/sources/{name}/positions", auth=Scoped(Scope.READ), response=Page[SourcePositionOut])
def list_positions(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[SourcePositionOut]:
    """List how far each partition of a source is stored."""
    rows = selectors.positions_of(_source(request, name))
    return page(rows, SourcePositionOut.of, by=("partition",), cursor=cursor, limit=limit)


# -- dead letters ------------------------------------------------------------------------------------------------------
@router.get("/sources/{name}/dead-letters", auth=Scoped(Scope.READ), response=Page[DeadLetterOut])
def list_dead_letters(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[DeadLetterOut]:
    """List the messages that could not be stored, newest first; what they hold is shown to who may change sources."""
    shows_text = SCOPE_OF["source"] in caller_of(request).scopes
    rows = selectors.dead_letters_of(_source(request, name))
    return page(
        rows,
        lambda letter: DeadLetterOut.of(letter, shows_text=shows_text),
        by=("-pk",),
        cursor=cursor,
        limit=limit,
    )


@router.post("/sources/{name}/dead-letters/retry", auth=_CHANGES, response=RetriedLettersOut)
def retry_dead_letters(request: HttpRequest, name: str) -> RetriedLettersOut:
    """Store all dead letters by the current mapping; those that are refused again stay, with the new reason."""
    source = _source(request, name)
    return _retry(request, source, None)


@router.delete("/sources/{name}/dead-letters", auth=_CHANGES, response=DiscardedLettersOut)
def discard_dead_letters(request: HttpRequest, name: str, confirm: str = _CONFIRM) -> DiscardedLettersOut:
    """Delete all dead letters for good; `confirm` is the name of the source."""
    source = _source(request, name)
    services.check_confirmed(source, confirm, "Discarded messages cannot be had again")
    letters = selectors.dead_letters_of(source)
    return DiscardedLettersOut(
        retrying.discard(source=source, letters=letters, actor=caller_of(request).actor)
    )


@router.post("/sources/{name}/dead-letters/{int:letter_id}/retry", auth=_CHANGES, response=RetriedLettersOut)
def retry_dead_letter(request: HttpRequest, name: str, letter_id: int) -> RetriedLettersOut:
    """Store one dead letter by the current mapping."""
    source = _source(request, name)
    return _retry(request, source, selectors.get_dead_letter(source=source, letter_id=letter_id))


@router.delete("/sources/{name}/dead-letters/{int:letter_id}", auth=_CHANGES, response={204: None})
def discard_dead_letter(request: HttpRequest, name: str, letter_id: int) -> Status[None]:
    """Delete one dead letter for good."""
    source = _source(request, name)
    letter = selectors.get_dead_letter(source=source, letter_id=letter_id)
    letters = selectors.dead_letters_of(source).filter(pk=letter.pk)
    retrying.discard(source=source, letters=letters, actor=caller_of(request).actor)
    return Status(204, None)


def _retry(request: HttpRequest, source: Source, letter: DeadLetter | None) -> RetriedLettersOut:
    letters = selectors.dead_letters_of(source)
    if letter is not None:
        letters = letters.filter(pk=letter.pk)
    retried = retrying.retry(source=source, letters=letters, actor=caller_of(request).actor, now=now())
    return RetriedLettersOut(stored=retried.stored, refused=retried.refused, reread=retried.reread)


def _check_logging(caller: Caller, what: str) -> None:
    if what in Source.What.values:  # each is a right of the same name
        caller.check_rights({"/what": what})


def _source(request: HttpRequest, name: str) -> Source:
    return selectors.get_source(project=caller_of(request).project, name=name)


def _out(source: Source) -> SourceOut:
    return SourceOut.of(source, selectors.statuses_of([source])[source.pk])
