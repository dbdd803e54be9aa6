"""Deletes a model, a version, a reference or a data set with all that depends on it, which is listed before.

Whoever deletes types the name of what goes: without it the answer is the list. Rows go in one transaction, then files.
"""

import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.feature import data_removals
from inference.prediction_log.imports import bad_rows, row_list
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.removal import check_removable, request_removal
from inference.prediction_log.labels import services as label_log
from inference.prediction_log.models import PackedDay, PredictionChunk, SummedDay
from inference.prediction_log.queries.selectors import days_with_rows
from inference.prediction_log.signals import days_changed
from inference.registry.files.datasets import remove_files
from inference.registry.models import Dataset, Deployment, Model, Version
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.versions import refuse_used_by_features
from monitors.alerts.models import Incident
from monitors.definitions.models import Reference
from monitors.rules.models import Rule
from monitors.summaries.models import Summary
from monitors.summaries.services import measure_again, measure_hours
from monitors.workflows.context import run_folder
from monitors.workflows.models import ACTIVE_STATES, Run


def check_confirmed(what: str, name: str, given: str, effects: list[str]) -> None:
    """Raise Problem 409 with what a deletion takes along, unless the name of what goes is given."""
    if given == name:
        return
    wrong = f"{given[:64]!r} is not its name. " if given else ""
    detail = (
        f"{wrong}Deleting {what} takes along: {'; '.join(effects)}. Confirm it by its name: confirm={name}"
    )
    raise Problem(409, "confirmation_needed", detail)


# -- models ------------------------------------------------------------------------------------------------------------
def effects_of_model(model: Model) -> list[str]:
    """List in words what goes with a model."""
    return _listed(
        (_rows(Q(model=model)), "logged prediction"),
        (model.versions.count(), "version"),
        (model.references.count(), "reference"),
        (model.datasets.count(), "data set"),
        (model.rules.count(), "rule"),
        (model.incidents.count(), "incident"),
        (model.runs.count(), "run"),
        (model.imports.count(), "import"),
        *chain.from_iterable(removal.counts(model) for removal in data_removals()),
    )


def delete_model(*, model: Model, confirm: str, actor: str) -> None:
    """Delete a model with everything of it; callers that ask for it get 404 from then on. Raises Problem."""
    effects = effects_of_model(model)
    check_confirmed(f"the model {model.name}", model.name, confirm, effects)
    _refuse_busy(Run.objects.filter(model=model, state__in=ACTIVE_STATES))
    with transaction.atomic():
        label_log.lock_summaries(model.pk)
        label_log.lock(model.pk, exclusive=True)
        _refuse_busy(Run.objects.filter(model=model, state__in=ACTIVE_STATES))
        paths, runs = _files_of(model), list(model.runs.values_list("pk", flat=True))
        removals = data_removals()
        remove_later = [removal.delete_of_runs(model.runs.all()) for removal in removals]
        datasets = list(model.datasets.values_list("path", flat=True))
        record_audit(
            project=model.project, actor=actor, action="model.delete", subject=model.name,
            before={"id": model.pk, "task": model.task, "effects": effects},
        )  # fmt: skip
        Incident.objects.filter(model=model).delete()
        Run.objects.filter(model=model).delete()
        remove_later += [removal.delete_of_model(model) for removal in removals]
        Reference.objects.filter(model=model).delete()
        Deployment.objects.filter(model=model).delete()
        Rule.objects.filter(model=model).delete()
        model.delete()
        publish_on_commit()
    _remove(paths)
    remove_files(datasets)
    for remove in remove_later:
        remove()
    for run in runs:
        shutil.rmtree(run_folder(run), ignore_errors=True)


def _refuse_busy(runs: QuerySet[Run]) -> None:
    run = runs.order_by("pk").first()
    if run is not None:
        raise Problem(
            409, "run_active", f"{str(run).capitalize()} is under way; cancel it or let it end first."
        )


def _files_of(model: Model) -> list[Path]:
    """List the files of a model alone, without those of data sets; an artifact may be another model's too."""
    own = {*model.versions.exclude(path="").values_list("path", flat=True)}
    others = Version.objects.exclude(model=model).filter(path__in=own)
    own -= {*others.values_list("path", flat=True)}
    own |= {*model.uploaded_files.exclude(path="").values_list("path", flat=True)}
    own |= {*model.imports.filter(is_upload=True).values_list("path", flat=True)}
    found = [settings.HOME / path for path in sorted(own)]
    for job in model.imports.all():
        found += [bad_rows.path_of(job), row_list.path_of(job)]
    return found


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_file():
            path.unlink(missing_ok=True)


# -- versions ----------------------------------------------------------------------------------------------------------
def effects_of_version(version: Version) -> list[str]:
    """List in words what goes with a version."""
    return _listed(
        (_rows(Q(version=version)), "logged prediction"),
        (version.references.count(), "reference"),
        (version.aliases.count(), "alias"),
        (Run.objects.filter(Q(champion=version) | Q(challenger=version)).count(), "run"),
    )


def delete_version(*, version: Version, confirm: str, actor: str) -> None:
    """Delete a version with its predictions and references; raises Problem 409 for one that is asked."""
    model = version.model
    _refuse_deployed(version, Deployment.objects.get(model=model))
    effects = effects_of_version(version)
    check_confirmed(f"version {version.version} of {model.name}", version.version, confirm, effects)
    runs = Run.objects.filter(Q(champion=version) | Q(challenger=version))
    _refuse_busy(runs.filter(state__in=ACTIVE_STATES))
    with transaction.atomic():
        label_log.lock_summaries(model.pk)
        label_log.lock(model.pk, exclusive=True)
        _refuse_deployed(version, Deployment.objects.select_for_update().get(model=model))
        _refuse_busy(runs.filter(state__in=ACTIVE_STATES))
        record_audit(
            project=model.project, actor=actor, action="version.delete", subject=str(version),
            before={"id": version.pk, "sha256": version.sha256, "effects": effects},
        )  # fmt: skip
        hours = list(
            Summary.objects.filter(version=version, span="hour", segment="").values_list("start", flat=True)
        )
        days = days_with_rows(model, version)  # summaries of hours are dropped long before
        Deployment.objects.filter(model=model, previous=version).update(previous=None)
        own = Dataset.objects.filter(version=version, kind="reference")
        datasets = list(own.values_list("path", flat=True))
        remove_later = [removal.delete_of_runs(runs) for removal in data_removals()]
        runs.delete()
        Reference.objects.filter(version=version).delete()
        own.delete()
        path, others = version.path, Version.objects.exclude(pk=version.pk)
        version.delete()
        days_changed.send(sender=Version, model=model, days=days)
        measure_hours(model_id=model.pk, hours=hours)
        publish_on_commit()
    remove_files(datasets)
    for remove in remove_later:
        remove()
    if path and not others.filter(path=path).exists():
        _remove([settings.HOME / path])


def _refuse_deployed(version: Version, deployment: Deployment) -> None:
    refuse_used_by_features(version)
    uses = {deployment.champion_id: "the champion", deployment.canary_id: "the canary"}
    uses |= {one.pk: "a shadow" for one in deployment.shadows.all()}
    if version.pk in uses:
        detail = f"Version {version.version} is {uses[version.pk]}; take it out of the deployment first."
        raise Problem(409, "version_in_use", detail)


# -- references and data sets ------------------------------------------------------------------------------------------
def effects_of_reference(reference: Reference) -> list[str]:
    """List in words what goes with a reference."""
    effects = []
    if reference.dataset is not None:
        effects.append(f"its file of {reference.dataset.rows:,} rows")
    if reference.is_active:
        effects.append("what windows are compared with: drift is not judged until there is another")
    return effects or ["nothing else"]


def delete_reference(*, reference: Reference, confirm: str, actor: str) -> None:
    """Delete a reference, with its file where nothing else has it; its name is that of the version. Raises Problem."""
    version, dataset = reference.version, reference.dataset
    effects = effects_of_reference(reference)
    check_confirmed(f"the reference of version {version.version}", version.version, confirm, effects)
    with transaction.atomic():
        record_audit(
            project=reference.model.project, actor=actor, action="reference.delete", subject=str(version),
            before={"id": reference.pk, "kind": reference.kind, "effects": effects},
        )  # fmt: skip
        since = reference.since
        reference.delete()
        if dataset is not None and not Reference.objects.filter(dataset=dataset).exists():
            dataset.delete()
        measure_again(version_id=version.pk, since=since)
    if dataset is not None:
        remove_files([dataset.path])


def effects_of_dataset(dataset: Dataset) -> list[str]:
    """List in words what goes with a data set."""
    references = Reference.objects.filter(dataset=dataset)
    effects = [
        f"the reference of version {one.version.version}" for one in references.select_related("version")
    ]
    return [f"its file of {dataset.rows:,} rows", *effects]


def delete_dataset(*, dataset: Dataset, confirm: str, actor: str) -> None:
    """Delete a data set with the references made from it; its name is the start of its digest. Raises Problem."""
    effects = effects_of_dataset(dataset)
    check_confirmed(str(dataset), name_of(dataset), confirm, effects)
    with transaction.atomic():
        record_audit(
            project=dataset.model.project, actor=actor, action="dataset.delete", subject=dataset.model.name,
            before={"id": dataset.pk, "kind": dataset.kind, "sha256": dataset.sha256, "effects": effects},
        )  # fmt: skip
        references = list(Reference.objects.filter(dataset=dataset))
        Reference.objects.filter(dataset=dataset).delete()
        dataset.delete()
        for reference in references:
            measure_again(version_id=reference.version_id, since=reference.since)
    remove_files([dataset.path])


def name_of(dataset: Dataset) -> str:
    """Return the name by which a data set is confirmed."""
    return dataset.sha256[:12]


# -- imports -----------------------------------------------------------------------------------------------------------
def effects_of_import(job: Import) -> list[str]:
    """List in words what goes when the rows of an import are removed; raises Problem where they cannot be."""
    check_removable(job)
    return [f"{job.accepted:,} predictions with their labels", "what summaries and points count of them"]


def remove_import(*, job: Import, confirm: str, actor: str) -> Import:
    """Ask a worker to take the rows of a wrong import out of the log; its name is that of its file. Raises Problem."""
    check_confirmed(f"the rows of {job}", job.file_name, confirm, effects_of_import(job))
    return request_removal(job=job, actor=actor)


def _rows(which: Q) -> int:
    """Count logged rows, also those of which only summaries are kept."""
    packed = PackedDay.objects.filter(which).aggregate(rows=Sum("rows"))["rows"] or 0
    summed = SummedDay.objects.filter(which).aggregate(rows=Sum("rows"))["rows"] or 0
    fresh = PredictionChunk.objects.filter(which, is_packed=False).aggregate(rows=Sum("rows"))["rows"] or 0
    return int(packed + summed + fresh)


def _listed(*counted: tuple[int, str]) -> list[str]:
    plural = {"alias": "aliases"}
    found = [f"{n:,} {word if n == 1 else plural.get(word, word + 's')}" for n, word in counted if n]
    return found or ["nothing else"]
