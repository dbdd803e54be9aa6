"""The pages of sources: all of a project, one to change or to begin, its dead letters, and what is asked before."""

import shlex
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from pydantic import ValidationError

from driftline.base.clock import now
from driftline.base.errors import Problem, not_found
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import listed_item
from driftline.web.pages.access import PageRequest, page
from inference.prediction_log.sources import retrying, selectors, services
from inference.prediction_log.sources.dead_letters import is_readable, message_of
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.pages.source_forms import SourceForm
from inference.prediction_log.sources.pages.source_kind_forms import KIND_FORMS, KIND_TEXTS, form_of
from inference.prediction_log.sources.reading.adapters import mapping_of
from inference.prediction_log.sources.reading.preview import PreviewedMessage, preview_stream, text_of
from inference.registry.models import Model
from inference.registry.selectors import get_model

LETTERS_SHOWN = 25
_REFUSED = (Problem, ValidationError)


@page("GET")
def sources(request: PageRequest) -> HttpResponse:
    """List the sources of a project with how each is read."""
    found = list(selectors.sources(project=request.visitor.project).order_by("name"))
    statuses = selectors.statuses_of(found)
    context = {
        "sources": [(source, statuses[source.pk]) for source in found],
        "may_change": request.visitor.may("source"),
        "section": "sources",
    }
    return render(request, "features/sources/sources.html", context)


@page("GET", "POST", writes="source")
def new(request: PageRequest) -> HttpResponse:
    """Begin a source of the kind that is chosen first; a POST shows what its mapping makes of messages, or makes it."""
    kind = request.POST.get("kind", "kafka") if request.method == "POST" else request.GET.get("kind", "")
    if kind not in KIND_FORMS:
        return render(
            request,
            "features/sources/source_kinds.html",
            {"kinds": KIND_TEXTS.items(), "section": "sources"},
        )
    form = KIND_FORMS[kind](request.visitor.project, request.POST or None)
    shown: list[PreviewedMessage] | None = None
    if request.method == "POST" and form.is_valid():
        try:
            request.visitor.check_rights({"/what": form.cleaned_data["what"]})
            model = get_model(project=request.visitor.project, name=form.cleaned_data["model"])
            if request.POST.get("do") != "preview":
                return _create(request, form, model)
            shown = _preview(form, model, form.cleaned_data["what"], None)
        except _REFUSED as error:
            if isinstance(error, Problem) and error.status in (403, 404):
                raise
            form.refuse(error)
    return _form_page(request, form, None, shown)


def _create(request: PageRequest, form: SourceForm, model: Model) -> HttpResponse:
    source = services.create_source(
        project=request.visitor.project,
        model=model,
        actor=request.visitor.actor,
        name=form.cleaned_data["name"],
        what=form.cleaned_data["what"],
        settings=form.read_settings(),
        mapping=form.read_mapping(),
        secret=form.cleaned_data["secret"],
        registry_secret=form.cleaned_data.get("registry_secret", ""),
    )
    messages.success(request, f"{source.name} is added, and read within seconds.")
    return redirect("source", source.pk)


@page("GET", "POST", writes="source")
def source(request: PageRequest, pk: int) -> HttpResponse:
    """Show a source; a POST changes it, previews its mapping, pauses, resumes, or deletes it."""
    one, action = _source(request, pk), request.POST.get("do", "")
    if action in ("pause", "resume"):
        services.set_enabled(source=one, actor=request.visitor.actor, enabled=action == "resume")
        messages.success(request, f"{one.name} is {'read again' if action == 'resume' else 'paused'}.")
        return redirect("source", one.pk)
    if action == "delete":
        services.delete_source(source=one, confirm=one.name, actor=request.visitor.actor)
        messages.success(request, f"{one.name} is deleted; the rows that it brought stay.")
        return redirect("sources")
    form = form_of(one, request.POST if action in ("save", "preview") else None)
    shown: list[PreviewedMessage] | None = None
    if form.is_bound and form.is_valid():
        try:
            if action == "save":
                _change(request, one, form)
                return redirect("source", one.pk)
            shown = _preview(form, one.model, one.what, one)
        except _REFUSED as error:
            if isinstance(error, Problem) and error.status in (403, 404):
                raise
            form.refuse(error)
    return _form_page(request, form, one, shown)


def _change(request: PageRequest, one: Source, form: SourceForm) -> None:
    request.visitor.check_rights({"/what": one.what})
    secret, had_secret = form.cleaned_data["secret"], bool(one.secret)
    services.update_source(
        source=one,
        actor=request.visitor.actor,
        name=form.cleaned_data["name"],
        settings=form.read_settings(),
        mapping=form.read_mapping(mapping_of(one)),
        secret=secret or None,
        registry_secret=form.cleaned_data.get("registry_secret") or None,
    )
    messages.success(request, f"{one.name} is changed.")
    if had_secret and not one.secret:
        text = "The secret that was stored belongs to another server or user, so it is erased: enter that of this one."
        messages.warning(request, text)


def _preview(form: SourceForm, model: Model, what: str, one: Source | None) -> list[PreviewedMessage]:
    return preview_stream(
        form.read_settings(),
        secret=form.cleaned_data["secret"],
        registry_secret=form.cleaned_data.get("registry_secret", ""),
        source=one,
        mapping=form.read_mapping(mapping_of(one) if one else None),
        what=what,
        model=model,
        now=now(),
    )


def _form_page(
    request: PageRequest, form: SourceForm, one: Source | None, shown: Sequence[PreviewedMessage] | None
) -> HttpResponse:
    context: dict[str, Any] = {
        "form": form,
        "kind_title": KIND_TEXTS[form.kind][0],
        "preview": shown,
        "source": one,
        "may_change": request.visitor.may("source"),
        "section": "sources",
    }
    if one is not None:
        context |= {
            "status": selectors.statuses_of([one])[one.pk],
            "quoted_name": shlex.quote(one.name),
            "positions": selectors.positions_of(one),
            "managed": managed(one.project, listed_item("source", one.name)),
        }
    return render(request, "features/sources/source.html", context, status=422 if form.errors else 200)


@page("GET")
def delete(request: PageRequest, pk: int) -> HttpResponse:
    """Ask before a source is deleted."""
    one = _source(request, pk)
    letters = selectors.dead_letters_of(one).count()
    context = {
        "source": one,
        "title": f"Delete the source {one.name}",
        "effects": [
            "Its secret and how far it was read are erased; a new source of the same topics or objects begins anew.",
            f"Its {letters:,} dead letters are deleted. The rows that it brought stay.",
        ],
        "yes": "Yes, delete it",
        "may_confirm": request.visitor.may("source"),
        "section": "sources",
    }
    return render(request, "features/sources/source_delete.html", context)


# -- dead letters ------------------------------------------------------------------------------------------------------
@page("GET", "POST", writes="source")
def dead_letters(request: PageRequest, pk: int) -> HttpResponse:
    """Show the messages that could not be stored; a POST retries or discards one of them, or all."""
    one = _source(request, pk)
    letters = selectors.dead_letters_of(one)
    if request.method == "POST":
        return _act_on_letters(request, one)
    shown = Paginator(letters.order_by("-pk"), LETTERS_SHOWN).get_page(request.GET.get("page"))
    may_change = request.visitor.may("source")
    context = {
        "source": one,
        "letters": [(letter, _text_of(letter) if may_change else "") for letter in shown],
        "shown": shown,
        "may_change": may_change,
        "section": "sources",
    }
    return render(request, "features/sources/dead_letters.html", context)


def _text_of(letter: DeadLetter) -> str:
    if is_readable(letter):
        return text_of(message_of(letter))
    return (
        "This message cannot be decrypted, as DRIFTLINE_SECRET_KEY changed since it came. Name the old key in "
        "DRIFTLINE_SECRET_KEY_FALLBACKS, or discard it."
    )


@page("GET")
def discard(request: PageRequest, pk: int) -> HttpResponse:
    """Ask before dead letters are discarded: one of them, or all."""
    one, number = _source(request, pk), request.GET.get("letter", "")
    letters = _letters(one, number)
    what = "this message" if number else f"{letters.count():,} messages"
    context = {
        "source": one,
        "letter": number,
        "title": f"Discard {what} of {one.name}",
        "effects": ["What is discarded is deleted, and cannot be had again; nothing of it was logged."],
        "yes": "Yes, discard",
        "may_confirm": request.visitor.may("source"),
        "section": "sources",
    }
    return render(request, "features/sources/letters_discard.html", context)


def _act_on_letters(request: PageRequest, one: Source) -> HttpResponse:
    action, actor = request.POST.get("do", ""), request.visitor.actor
    letters = _letters(one, request.POST.get("letter", ""))
    if action == "retry":
        retried = retrying.retry(source=one, letters=letters, actor=actor, now=now())
        text = f"{retried.stored:,} in the log now, {retried.refused:,} refused again."
        if retried.reread:
            text += f" Objects that the next pass reads again: {retried.reread:,}."
        messages.info(request, text)
    elif action == "discard":
        messages.info(request, f"{retrying.discard(source=one, letters=letters, actor=actor):,} discarded.")
    else:
        raise Problem(422, "unknown_action", f"{action[:40]!r} is not an action here; use retry or discard.")
    return redirect("dead_letters", one.pk)


def _letters(one: Source, number: str) -> QuerySet[DeadLetter]:
    """Return the letter of this number, or all where there is none; raises Problem (404)."""
    letters = selectors.dead_letters_of(one)
    if not number:
        return letters
    letter = selectors.get_dead_letter(source=one, letter_id=int(number[:18]) if number.isdecimal() else 0)
    return letters.filter(pk=letter.pk)


def _source(request: PageRequest, pk: int) -> Source:
    one = selectors.sources(project=request.visitor.project).filter(pk=pk).first()
    if one is None:
        raise not_found("source")
    return one
