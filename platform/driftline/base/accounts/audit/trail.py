"""Reads a project's audit trail: filters it, lists what an entry changed, exports it, and checks the chain."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self

from django.conf import settings
from django.core.cache import cache
from django.db.models import Max, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest

from driftline.base.accounts.audit.chain import ERASED, check_chain
from driftline.base.accounts.audit.schemas import AuditEntryOut
from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.accounts.services import record_audit
from driftline.base.http.downloads import Download
from driftline.base.http.request_values import bounds, refuse_parameter
from driftline.base.http.responses import write_json
from driftline.base.periods import rfc3339

MAX_CHECKED = 50_000
"""Entries of the chain that a request computes anew, which takes seconds; more are left to the command."""
MAX_WORDS = 8
"""Words of a search; each looks through whole entries."""
MAX_CHANGES = 100
"""Changed fields of an entry that are listed."""
RECENT = 5_000
"""The newest entries, of which the kinds and actors are offered to filter by."""
JSON_LINES = "application/x-ndjson"
_TEXTS = ("search", "actor", "kind", "action", "correlation")
_BATCH = 1_000
_CHECK_SECONDS = 300


@dataclass(frozen=True)
class AuditFilter:
    """Which entries are wanted; empty fields narrow nothing. `kind` is of the object, the first word of an action."""

    search: str = ""
    actor: str = ""
    kind: str = ""
    action: str = ""
    correlation: str = ""
    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(cls, values: Mapping[str, str], *, now: datetime) -> Self:
        """Read the parameters of an address; raises Problem 400 for what cannot be read."""
        start, end = bounds(values.get("from", ""), values.get("to", ""), now=now)
        texts = {name: values.get(name, "").strip()[:200] for name in _TEXTS}
        if wrong := [name for name, text in texts.items() if "\0" in text]:
            raise refuse_parameter(wrong[0], f"{wrong[0]} has a NUL character; take it out.")
        if (words := len(texts["search"].split())) > MAX_WORDS:
            raise refuse_parameter("search", f"Search for at most {MAX_WORDS} words; these are {words}.")
        return cls(start=start, end=end, **texts)

    def entries(self, project: Project) -> QuerySet[AuditEntry]:
        """List the entries of a project that fit, in no order."""
        rows = AuditEntry.objects.filter(project=project)
        for name in ("actor", "action", "correlation"):
            if value := getattr(self, name):
                rows = rows.filter(**{name: value})
        if self.kind:
            rows = rows.filter(Q(action=self.kind) | Q(action__startswith=f"{self.kind}."))
        if self.start:
            rows = rows.filter(at__gte=self.start)
        if self.end:
            rows = rows.filter(at__lt=self.end)
        return self._searched(rows)

    def plain(self) -> dict[str, str]:
        """Return what narrows, as an export's entry of the trail says it."""
        texts = {
            name: rfc3339(value) if isinstance(value, datetime) else value
            for name, value in vars(self).items()
        }
        return {name: text for name, text in texts.items() if text}

    def _searched(self, rows: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Keep the entries that have each word somewhere, in what they changed too."""
        if not self.search:
            return rows
        rows = rows.alias(before_text=Cast("before", TextField()), after_text=Cast("after", TextField()))
        for word in self.search.split():
            places = ("actor", "action", "subject", "before_text", "after_text", "token_name", "address")
            condition = Q()
            for place in places:
                condition |= Q(**{f"{place}__icontains": word})
            rows = rows.filter(condition)
        return rows


def choices_of(project: Project) -> tuple[list[str], list[str]]:
    """List the kinds of objects and the actors among the newest entries of a project."""
    newest = AuditEntry.objects.filter(project=project).order_by("-pk")
    pairs = set(newest.values_list("action", "actor")[:RECENT])
    return sorted({action.partition(".")[0] for action, _ in pairs}), sorted({actor for _, actor in pairs})


# -- what changed ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class AuditChange:
    """One field that an act changed; None on a side where there was nothing."""

    field: str
    before: Any
    after: Any


def changes_of(entry: AuditEntry) -> list[AuditChange]:
    """List the fields in which before and after differ, those of nested objects by their path, up to so many."""
    return all_changes_of(entry)[:MAX_CHANGES]


def all_changes_of(entry: AuditEntry) -> list[AuditChange]:
    """List every field in which before and after differ."""
    before, after = _flat(entry.before), _flat(entry.after)
    names = [*before, *(name for name in after if name not in before)]
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return [AuditChange(*pair) for pair in pairs if pair[1] != pair[2]]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the values of nested objects by dotted paths; what is no object stands alone."""
    if isinstance(value, dict) and value:
        parts = [_flat(part, f"{path}.{name}" if path else str(name)) for name, part in value.items()]
        return {name: part for flat in parts for name, part in flat.items()}
    return {} if value is None or value == {} else {path or ("erased" if value == ERASED else "value"): value}


# -- export ------------------------------------------------------------------------------------------------------------
def export_entries(*, project: Project, wanted: AuditFilter, sink: IO[bytes], actor: str) -> int:
    """Write the entries that fit as JSON Lines, the oldest first, and return how many; the trail records it.

    A thousand entries are in memory at a time.
    """
    count = 0
    newest = wanted.entries(project).aggregate(pk=Max("pk"))["pk"] or 0
    for entry in _in_order(wanted.entries(project).filter(pk__lte=newest)):
        sink.write(write_json(AuditEntryOut.of(entry)) + b"\n")
        count += 1
    record_audit(
        project=project, actor=actor, action="audit.export", subject=project.slug,
        after={"entries": count, **wanted.plain()},
    )  # fmt: skip
    return count


def export_file(request: HttpRequest, *, project: Project, wanted: AuditFilter, actor: str) -> Download:
    """Return the entries that fit as a file of JSON Lines."""
    file = tempfile.TemporaryFile(dir=settings.HOME)  # noqa: SIM115  the response closes it
    try:
        export_entries(project=project, wanted=wanted, sink=file, actor=actor)
    except BaseException:
        file.close()
        raise
    length = file.tell()
    file.seek(0)
    return Download(request, file, length=length, name=f"{project.slug}-audit.jsonl", content_type=JSON_LINES)


def _in_order(rows: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    last = 0
    while batch := list(rows.filter(pk__gt=last).order_by("pk")[:_BATCH]):
        yield from batch
        last = batch[-1].pk


# -- the chain ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ChainState:
    """Whether the chain over the whole installation holds; `holds` is None where it is too long to check here."""

    holds: bool | None
    newest: int
    checked_at: datetime | None = None
    fault: str = ""


def chain_state(home: Path, *, now: datetime) -> ChainState:
    """Check the chain, at most once in five minutes."""
    newest = AuditEntry.objects.aggregate(number=Max("number"))["number"] or 0
    if newest > MAX_CHECKED:
        return ChainState(None, newest)
    known = cache.get("audit:chain")
    if known is None:
        report = check_chain(home)
        known = {"newest": report.head.number, "fault": report.broken, "at": rfc3339(now)}
        cache.set("audit:chain", known, _CHECK_SECONDS)
    return ChainState(
        not known["fault"], known["newest"], datetime.fromisoformat(known["at"]), known["fault"]
    )
