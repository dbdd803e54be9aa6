"""Which reference a version's windows are compared with: it is chosen, put in use, and goes along with promotions.

A series keeps its reference: another kind judges the windows from the present day on, by the model's event clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.periods import floor, rfc3339
from driftline.base.strict_json import printable
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Dataset, Model, Version
from inference.registry.parts import lock_model
from monitors.definitions.models import Reference
from monitors.definitions.schemas import ChosenReferenceOut
from monitors.definitions.signals import reference_ready

PERIOD_DAYS = range(14, 801)
TRAILING_DAYS, GAP_DAYS, WEEKS = 28, 7, 16
"""What is taken where nothing is said."""
_LENGTHS = {Reference.Kind.TRAILING: range(14, 181), Reference.Kind.SAME_HOURS: range(14, 53)}
_GAPS = range(61)
_ROLLING = (Reference.Kind.TRAILING, Reference.Kind.SAME_HOURS)
_LARGE = ("payload", "error_profile", "learnt_errors")  # fields that are read where they are needed


@dataclass(frozen=True)
class ReferenceChoice:
    """What windows are to be compared with; `length` is in days of trailing ones, and in weeks of the same hours."""

    kind: str
    start: datetime | None = None
    end: datetime | None = None
    length: int | None = None
    gap: int = 0


def choose_reference(*, model: Model, version: Version, choice: ReferenceChoice, actor: str) -> Reference:
    """Compare a version's windows with something else from the present day on; the very first choice judges all.

    Raises Problem: 422 for a choice that is none, 409 where a file is chosen and none was uploaded for the version.
    """
    _check(choice, today=floor(event_now(model=model, now=now()), "day"))
    with transaction.atomic():
        lock_model(model)
        before = active_reference(model=model, version_id=version.pk)
        if choice.kind == Reference.Kind.FILE:
            reference = adopt_reference(dataset=_newest_file(version))
        else:
            reference = _make(version, choice)
        _record("reference.choose", reference, before, actor)
    return reference


def adopt_reference(*, dataset: Dataset) -> Reference:
    """Start turning a stored data set into the reference of its version."""
    assert dataset.version is not None
    reference = Reference.objects.create(model=dataset.model, version=dataset.version, dataset=dataset)
    enqueue(Task.LONG_WORK)
    return reference


def rebase_reference(*, model: Model, before: Version | None, after: Version, actor: str) -> None:
    """Compare with what belongs to the new champion, in the transaction that lets it answer.

    What was chosen of the log goes along, and is of the new version's own answers from then on; a fixed period gives
    way to a file of the new version. Where nothing changes there is no audit row.
    """
    lock_model(model)
    known = active_reference(model=model, version_id=before.pk if before else None)
    listed = after.references.filter(archived_at=None)
    own = listed.exclude(state=Reference.State.FAILED).order_by("-pk").first()
    if known is None:
        return
    if known.kind in _ROLLING or (known.kind == Reference.Kind.PERIOD and own is None):
        choice = _choice_of(known)
        if own is None or not own.is_active or _choice_of(own) != choice:
            own = _make(after, choice)
    if own is not None and own != known:
        _record("reference.rebase", own, known, actor)


def put_in_use(reference: Reference) -> None:
    """Make a reference that is ready judge its version's windows, in the caller's transaction.

    A file in place of a file judges all that the other one did: it mends it. One that was chosen before another is not
    put in its place, however long it was built.
    """
    others = Reference.objects.filter(
        model_id=reference.model_id, version_id=reference.version_id, is_active=True
    )
    replaced = others.exclude(pk=reference.pk).first()
    if replaced is not None and replaced.pk > reference.pk:
        return
    if replaced is not None and {replaced.kind, reference.kind} == {Reference.Kind.FILE}:
        reference.since = replaced.since
        others.filter(pk=replaced.pk).update(is_active=False)
    elif replaced is not None:
        reference.since = floor(event_now(model=reference.model, now=now()), "day")
        others.filter(pk=replaced.pk).update(is_active=False, until=reference.since)
    reference.is_active = True
    reference.save(update_fields=["is_active", "since"])
    reference_ready.send(sender=Reference, reference=reference)


# -- which one a window is compared with -------------------------------------------------------------------------------
def references_in_force(model: Model) -> list[Reference]:
    """List the references that judge some window of a model, the newest first and without what they hold."""
    known = Reference.objects.filter(Q(is_active=True) | Q(until__isnull=False), model=model)
    return list(known.select_related("model", "version", "dataset").defer(*_LARGE).order_by("-pk"))


def in_force(
    references: Iterable[Reference], *, version_id: int | None, at: datetime | None
) -> Reference | None:
    """Choose the reference of a version for windows that start `at` a moment (None: from now on).

    A version without one is compared with that of the newest version that has one.
    """
    found = [one for one in references if (one.is_active if at is None else _judges(one, at))]
    own = [one for one in found if one.version_id == version_id]
    return next(iter(own or found), None)


def active_reference(*, model: Model, version_id: int | None, at: datetime | None = None) -> Reference | None:
    """Find what a version's windows from now on, or `at` a moment, are compared with."""
    return in_force(references_in_force(model), version_id=version_id, at=at)


def file_reference(*, model: Model, version_id: int | None) -> Reference | None:
    """Find the newest reference that has rows: what needs these goes by it, whatever windows are compared with."""
    files = Reference.objects.filter(model=model, kind=Reference.Kind.FILE, payload__isnull=False)
    files = files.select_related("version", "dataset").defer(*_LARGE).order_by("-pk")
    active, former = files.filter(is_active=True), files.filter(until__isnull=False)
    own = [some.filter(version=version_id).first() for some in (active, former) if version_id is not None]
    return next((one for one in (*own, active.first(), former.first()) if one is not None), None)


def _judges(reference: Reference, at: datetime) -> bool:
    begun = reference.since is None or reference.since <= at
    return begun and (reference.until is None or at < reference.until)


# -- how it is written -------------------------------------------------------------------------------------------------
def _make(version: Version, choice: ReferenceChoice) -> Reference:
    reference = Reference.objects.create(
        model=version.model,
        version=version,
        kind=choice.kind,
        start=choice.start,
        end=choice.end,
        length=choice.length,
        gap=choice.gap,
        state=Reference.State.READY,
    )
    known = active_reference(model=version.model, version_id=version.pk)
    if known is not None and known.version_id != version.pk:  # another version's has judged so far
        reference.since = floor(event_now(model=version.model, now=now()), "day")
    put_in_use(reference)
    return reference


def _choice_of(reference: Reference) -> ReferenceChoice:
    return ReferenceChoice(reference.kind, reference.start, reference.end, reference.length, reference.gap)


def _newest_file(version: Version) -> Dataset:
    listed = Exists(Reference.objects.filter(dataset=OuterRef("pk"), archived_at=None))
    files = Dataset.objects.filter(listed, version=version, kind="reference", archived_at=None)
    stored = files.order_by("-created_at", "-pk").first()
    if stored is None:
        raise Problem(409, "no_reference", f"No file was uploaded for version {version.version}; upload one.")
    return stored


def _record(action: str, after: Reference, before: Reference | None, actor: str) -> None:
    record_audit(
        project=after.model.project,
        actor=actor,
        action=action,
        subject=after.model.name,
        before=None if before is None else described(before),
        after=described(after),
    )


def described(reference: Reference) -> dict[str, Any]:
    """Return what was chosen in plain values, by the names of the API."""
    plain: dict[str, Any] = msgspec.to_builtins(ChosenReferenceOut.of(reference))
    return plain


# -- what may be chosen ------------------------------------------------------------------------------------------------
def _check(choice: ReferenceChoice, *, today: datetime) -> None:
    if choice.kind not in Reference.Kind.values:
        detail = f"The kind is '{printable(choice.kind)}'; use {', '.join(Reference.Kind.values)}."
        raise invalid("/kind", detail)
    kind = Reference.Kind(choice.kind)
    if kind == Reference.Kind.PERIOD:
        _check_period(choice, today)
    elif choice.start is not None or choice.end is not None:
        raise invalid("/from", "Only a fixed period has 'from' and 'to'.")
    if kind in _LENGTHS and choice.length not in _LENGTHS[kind]:
        unit = "weeks" if kind == Reference.Kind.SAME_HOURS else "days"
        raise invalid(f"/{unit}", f"{choice.length} {unit}; use {_LENGTHS[kind][0]} to {_LENGTHS[kind][-1]}.")
    if kind == Reference.Kind.TRAILING and choice.gap not in _GAPS:
        raise invalid("/gap_days", f"A gap of {choice.gap} days; use 0 to {_GAPS[-1]}.")


def _check_period(choice: ReferenceChoice, today: datetime) -> None:
    start, end = choice.start, choice.end
    if start is None or end is None:
        raise invalid("/from" if start is None else "/to", "A fixed period needs 'from' and 'to'.")
    for name, moment in (("from", start), ("to", end)):
        if floor(moment, "day") != moment:
            raise invalid(f"/{name}", "A fixed period is of whole days: use midnight UTC.")
    if not start < end <= today:
        raise invalid(
            "/to", f"A fixed period ends after its start and by {rfc3339(today)}, when today began."
        )
    if (days := (end - start).days) not in PERIOD_DAYS:
        raise invalid("/from", f"{days} days; use {PERIOD_DAYS[0]} to {PERIOD_DAYS[-1]}.")
