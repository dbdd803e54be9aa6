"""Writes of registry imports: list a registry, start with what was chosen, try again, forget."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, QuerySet

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid, not_found
from driftline.base.outbound.secrecy import seal
from driftline.base.strict_json import printable
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.models import Model, ModelTask
from inference.registry.services import check_model_name
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from monitors.workflows.mlflow.services import checked_url

MAX_OPEN = 20
MAX_SEARCH_LETTERS = 100


@dataclass(frozen=True)
class ImportOptions:
    """How models are imported: `task` is of new ones where the file does not tell it."""

    which: str = RegistryImport.Which.ALIASES
    follows: bool = False
    task: str = ""


def get_import(*, project: Project, import_id: int) -> RegistryImport:
    """Find an import of a project; raises Problem 404."""
    found = RegistryImport.objects.filter(project=project, pk=import_id).select_related("project").first()
    if found is None:
        raise not_found("registry import")
    return found


def list_registry(
    *, project: Project, actor: str, url: str, secret: str = "", search: str = ""
) -> RegistryImport:
    """Ask a worker to list the registered models of a server; nothing is imported before somebody chooses.

    Raises Problem (422) for what could never work, and `too_many_imports` (409).
    """
    search = search.strip()
    if len(search) > MAX_SEARCH_LETTERS or not search.isprintable():
        raise invalid("/search", f"A part of a name has up to {MAX_SEARCH_LETTERS} printable characters.")
    values = {"url": checked_url(url), "secret": seal(secret, "/secret"), "search": search}
    if RegistryImport.objects.filter(project=project).count() >= MAX_OPEN:
        raise Problem(
            409, "too_many_imports", f"This project has {MAX_OPEN} imports of registries; forget one first."
        )
    with transaction.atomic():
        made = RegistryImport.objects.create(project=project, created_by=actor[:200], **values)
        _record(made, "registry.list", actor, {"url": made.url, "search": search})
        enqueue(Task.LONG_WORK)
    return made


def start_import(
    *,
    registry_import: RegistryImport,
    chosen: Mapping[str, str] | None,
    options: ImportOptions,
    actor: str,
    check_new: Callable[[], None],
) -> int:
    """Import the chosen registered models, each with its name here (empty: the proposed one); None is all that can be.

    `check_new` is called where models will be made, and refuses whoever must not. What was imported before stays as it
    is, so that a second start does nothing new. Returns how many models are to be
    imported now. Raises Problem: 409 before the registry was listed, 422 for a name that cannot be.
    """
    _check_options(options)
    with transaction.atomic():
        RegistryImport.objects.select_for_update().get(pk=registry_import.pk)
        registry_import.refresh_from_db()
        if registry_import.state != RegistryImport.State.LISTED:
            raise Problem(
                409, "not_listed", "The registry was not listed yet; wait for that, or try it again."
            )
        rows = {row.registered_model: row for row in registry_import.registered_models.select_for_update()}
        names = _checked_names(rows, chosen)
        started = [rows[registered] for registered in names if rows[registered].state in _STARTABLE]
        wanted = {names[row.registered_model] for row in started}
        if Model.objects.of_project(registry_import.project).filter(name__in=wanted).count() < len(wanted):
            check_new()
        for row in started:
            ImportedModel.objects.filter(pk=row.pk).begin_again(
                name=names[row.registered_model], failures=0, note=""
            )
        _give_another_chance(ImportedVersion.objects.filter(imported__in=started))
        options_of = {"which": options.which, "follows": options.follows, "task": options.task}
        RegistryImport.objects.filter(pk=registry_import.pk).update(**options_of)
        _record(registry_import, "registry.import", actor, {**options_of, "models": len(started)})
        enqueue(Task.LONG_WORK)
    return len(started)


def retry(*, registry_import: RegistryImport, actor: str) -> int:
    """Try again at once what failed, was refused or waits for the server; returns how many models those are."""
    with transaction.atomic():
        RegistryImport.objects.filter(pk=registry_import.pk).failed().begin_again(failures=0)
        refused = Q(versions__outcome=ImportedVersion.Outcome.REFUSED)
        troubled = registry_import.registered_models.exclude(state=ImportedModel.State.LISTED).filter(
            refused | Q(state=ImportedModel.State.FAILED) | Q(lease_until__isnull=False, lease_token=None)
        )
        again = ImportedModel.objects.filter(pk__in=list(troubled.values_list("pk", flat=True)))
        retried = again.begin_again(failures=0, note="")
        _give_another_chance(ImportedVersion.objects.filter(imported__in=again))
        waiting = RegistryImport.objects.filter(pk=registry_import.pk, lease_token=None).unfinished()
        waiting.filter(lease_until__isnull=False).begin_again(failures=0)
        _record(registry_import, "registry.retry", actor, {"models": retried})
        enqueue(Task.LONG_WORK)
    return retried


def forget_import(*, registry_import: RegistryImport, actor: str) -> None:
    """Remove the list and its secret, and end what is under way; models and versions that came stay."""
    with transaction.atomic():
        _record(registry_import, "registry.forget", actor, {"url": registry_import.url})
        registry_import.delete()


_STARTABLE = (ImportedModel.State.LISTED, ImportedModel.State.FAILED)


def _give_another_chance(versions: QuerySet[ImportedVersion]) -> None:
    refused = versions.filter(outcome=ImportedVersion.Outcome.REFUSED)
    refused.update(outcome=ImportedVersion.Outcome.WAITING, reason="")


def _check_options(options: ImportOptions) -> None:
    if options.which not in RegistryImport.Which.values:
        raise invalid(
            "/versions", f"{options.which[:40]!r} is not one of {', '.join(RegistryImport.Which.values)}."
        )
    if options.task and options.task not in ModelTask.values:
        raise invalid("/task", f"{options.task[:40]!r} is not one of {', '.join(ModelTask.values)}.")


def _checked_names(rows: Mapping[str, ImportedModel], chosen: Mapping[str, str] | None) -> dict[str, str]:
    """Return the name here of each chosen registered model; those of one import are all different."""
    if chosen is None:
        return {registered: row.name for registered, row in rows.items() if row.name}
    names: dict[str, str] = {}
    owners = {row.name: name for name, row in rows.items() if row.state not in _STARTABLE}
    for place, (registered, wanted) in enumerate(chosen.items()):
        row = rows.get(registered)
        if row is None:
            raise invalid(
                f"/models/{place}/registered_model",
                f"{printable(registered)[:64]!r} was not listed; list the registry anew.",
            )
        if row.state not in _STARTABLE:
            continue
        name = wanted.strip() or row.name
        try:
            check_model_name(name)
        except Problem as problem:
            raise invalid(f"/models/{place}/name", problem.detail, problem.code) from problem
        if owners.setdefault(name, registered) != registered:
            raise invalid(
                f"/models/{place}/name",
                f"{printable(registered)[:64]!r} and {printable(owners[name])[:64]!r} would both be {name}; "
                "choose another name.",
            )
        names[registered] = name
    return names


def _record(found: RegistryImport, action: str, actor: str, after: object) -> None:
    record_audit(project=found.project, actor=actor, action=action, subject=str(found)[:200], after=after)
