"""Imports a registered model: its chosen versions go through the intake, one after the other, into one model."""

import time
from collections.abc import Collection

import msgspec
from django.conf import settings
from django.db import transaction

from driftline.base.errors import Problem
from driftline.base.outbound.transport import RequestFailed
from driftline.base.work.leased_work import WorkFailed, WorkLease, shortened
from inference.registry.files import artifacts
from inference.registry.importers.mlflow import OnnxFlavor
from inference.registry.importers.planning import infer_task
from inference.registry.importers.registering import find_model
from inference.registry.intake import UploadMetadata, examine_artifact
from inference.registry.lineage import Lineage
from inference.registry.models import Model, Version
from inference.registry.selectors import get_model
from inference.registry.services import create_model
from inference.registry.versions import problems_of_intake, upload_version
from monitors.workflows.mlflow.client import READY, RegisteredModel
from monitors.workflows.mlflow.files import download_onnx, read_flavor
from monitors.workflows.mlflow.models import MlflowConnection, MlflowVersion
from monitors.workflows.mlflow.registry_imports.catalogue import ListedVersion, list_versions
from monitors.workflows.mlflow.registry_imports.listing import secret_of
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from monitors.workflows.mlflow.services import connect
from monitors.workflows.starting.arrivals import arriving_file, metadata_of_champion
from monitors.workflows.starting.patience import attempt_patiently

MAX_VERSIONS = 50
ALIASES = ("champion", "production", "challenger")
SLICE_SECONDS = 120.0  # with the longest download of one version less than a task may take
PATIENCE_FAILURES = 6
"""Times in a row, over about half an hour, after which a version is passed over: the server may lack only its file."""
_OF_ONE_VERSION = (400, 404)  # what MLflow answers where only this version's files are not there
Outcome = ImportedVersion.Outcome


def import_model(imported_id: int) -> bool:
    """Import a registered model, or go on with it, where that is due; returns whether it was."""
    return attempt_patiently(ImportedModel.objects.filter(pk=imported_id), _import)


def _import(lease: WorkLease[ImportedModel]) -> None:
    began = time.monotonic()
    item = _read(lease)
    registry = RegisteredModel(
        item.registry_import.url, item.registered_model, secret_of(item.registry_import)
    )
    if not item.versions.exists():
        _choose(lease, item, registry)
    while row := item.versions.filter(outcome=Outcome.WAITING).order_by("position").first():
        _bring(lease, item, row, registry)
        lease.note_progress()
        if time.monotonic() - began > SLICE_SECONDS:
            lease.release()
            return
        item = _read(lease)
    _finish(lease, item, registry)


def _read(lease: WorkLease[ImportedModel]) -> ImportedModel:
    pk = lease.read().pk
    return ImportedModel.objects.select_related("registry_import__project", "model__project").get(pk=pk)


# -- which versions ----------------------------------------------------------------------------------------------------
def _choose(lease: WorkLease[ImportedModel], item: ImportedModel, registry: RegisteredModel) -> None:
    """Write down the versions that are to come: the champion first, as the first one of a new model answers."""
    listed = list_versions(registry)
    aliases: dict[str, list[str]] = {}
    for alias, number in registry.aliases().items():
        aliases.setdefault(number, []).append(alias)
    chosen = choose_versions(listed, aliases, which=item.registry_import.which)
    if not chosen:
        raise WorkFailed("It has no version that is ready.")
    with lease.fenced():
        ImportedVersion.objects.bulk_create(
            ImportedVersion(
                imported=item,
                position=position,
                number=version.number,
                aliases=", ".join(sorted(aliases.get(version.number, [])))[:200],
                outcome=Outcome.WAITING if version.status == READY else Outcome.REFUSED,
                reason="" if version.status == READY else f"MLflow says that it is {version.status[:100]}.",
            )
            for position, version in enumerate(chosen)
        )


def choose_versions(
    listed: list[ListedVersion], aliases: dict[str, list[str]], *, which: str
) -> list[ListedVersion]:
    """Choose of the versions, which are listed newest first: that which answers in MLflow comes first.

    Those with an alias that counts, or the newest where there is none; or all that are ready, up to a bound.
    """

    def rank(version: ListedVersion) -> int:
        names = [*aliases.get(version.number, []), *(["production"] if version.is_production else [])]
        return min((ALIASES.index(name) for name in names if name in ALIASES), default=len(ALIASES))

    named = [version for version in listed if rank(version) < len(ALIASES)]
    ready = [version for version in listed if version.status == READY]
    others = ready[:MAX_VERSIONS] if which == RegistryImport.Which.ALL else [] if named else ready[:1]
    chosen = [*named, *(version for version in others if version not in named)][:MAX_VERSIONS]
    # A challenger comes after the newest: of the versions only those that answer there are to answer here.
    return sorted(chosen, key=lambda version: (min(rank(version), 2), -int(version.number)))


# -- one version -------------------------------------------------------------------------------------------------------
def _bring(
    lease: WorkLease[ImportedModel], item: ImportedModel, row: ImportedVersion, registry: RegisteredModel
) -> None:
    """Register one version, and write what became of it; what only this version cannot do is its outcome."""
    try:
        version, is_new = _version_of(lease, item, row, registry)
    except WorkFailed as refusal:
        _write(lease, row, Outcome.REFUSED, reason=str(refusal))
    except Problem as problem:
        if problem.status >= 500:
            raise
        _write(lease, row, Outcome.REFUSED, reason=problem.detail)
    except RequestFailed as failure:
        if failure.status not in _OF_ONE_VERSION and item.failures < PATIENCE_FAILURES:
            raise
        _write(lease, row, Outcome.REFUSED, reason=str(failure))
    else:
        _write(lease, row, Outcome.IMPORTED if is_new else Outcome.KNOWN, version=version)


def _write(
    lease: WorkLease[ImportedModel],
    row: ImportedVersion,
    outcome: ImportedVersion.Outcome,
    *,
    reason: str = "",
    version: Version | None = None,
) -> None:
    with lease.fenced() as item:
        row.outcome, row.reason, row.version = outcome, shortened(reason), version
        lease.write(failures=0)
        row.save(update_fields=["outcome", "reason", "version"])
        if version is not None and item.model_id is None:
            lease.write(model=version.model)


def _version_of(
    lease: WorkLease[ImportedModel], item: ImportedModel, row: ImportedVersion, registry: RegisteredModel
) -> tuple[Version, bool]:
    """Return the version, and whether it is new; one that came from there before is not downloaded again."""
    model = item.model or find_model(item.registry_import.project, item.name)
    if model is not None and (known := _known(model, item, row)):
        return known, False
    run = registry.run_of(row.number)
    flavor = read_flavor(registry, row.number)
    with arriving_file() as file:
        download_onnx(registry, row.number, flavor, file)
        lease.read()  # nothing is registered for somebody who has another worker by now
        metadata = _metadata(model, flavor)
        task = "" if model is not None else _task(item, file, metadata)
        with transaction.atomic():
            if model is None:
                model = create_model(
                    project=item.registry_import.project, name=item.name, task=task, actor=_actor(item)
                )
            return upload_version(
                model=model,
                stream=file,
                metadata=msgspec.json.encode(metadata),
                lineage=Lineage(
                    trigger=str(item)[:200],
                    parameters={"server": "mlflow", "run_id": run},
                    uri=row.page[:500],
                ),
                actor=_actor(item),
                name=row.number,
            )


def _known(model: Model, item: ImportedModel, row: ImportedVersion) -> Version | None:
    came = MlflowVersion.objects.filter(
        model=model,
        url=item.registry_import.url,
        registered_model=item.registered_model,
        number=row.number,
        version__isnull=False,
    ).select_related("version")
    if taken := came.first():
        return taken.version
    return model.versions.filter(version=row.number, lineage__uri=row.page[:500]).first()


def _metadata(model: Model | None, flavor: OnnxFlavor) -> UploadMetadata:
    """Return, for the file, what is known of the champion where both have the same features, else what MLflow says."""
    declared = metadata_of_champion(_fresh(model)) if model is not None else None
    named = _names(flavor.metadata)
    return declared if declared and named in ([], _names(declared)) else flavor.metadata


def _names(metadata: UploadMetadata) -> Collection[str]:
    return [feature.name for feature in metadata.features]


def _fresh(model: Model) -> Model:
    """Read a model with its deployment as it is now."""
    return get_model(project=model.project, name=model.name)


def _task(item: ImportedModel, file: object, metadata: UploadMetadata) -> str:
    """Find the task of a new model by its file, or take the one that was named; raises WorkFailed where none is."""
    with problems_of_intake(), artifacts.receive(settings.HOME, file) as arrived:  # type: ignore[arg-type]
        task = infer_task(examine_artifact(arrived.location, metadata), metadata)
    file.seek(0)  # type: ignore[attr-defined]
    if not (task or item.registry_import.task):
        raise WorkFailed(
            "Its outputs do not tell what it predicts; name the task of such models, and start it again."
        )
    return task or item.registry_import.task


def _actor(item: ImportedModel) -> str:
    return item.registry_import.created_by


# -- the end -----------------------------------------------------------------------------------------------------------
def _finish(lease: WorkLease[ImportedModel], item: ImportedModel, registry: RegisteredModel) -> None:
    """End the work, and follow the registered model where that was asked for."""
    if item.model is None or not item.versions.filter(version__isnull=False).exists():
        raise WorkFailed("None of its versions could be imported; each says why.")
    note = _follow(item, item.model, registry) if item.registry_import.follows else ""
    lease.finish(ImportedModel.State.DONE, note=shortened(note))


def _follow(item: ImportedModel, model: Model, registry: RegisteredModel) -> str:
    """Connect a model to its registered model, unless it follows one; returns what kept it from that."""
    known = MlflowConnection.objects.filter(model=model).first()
    if known is not None:
        is_same = (known.url, known.registered_model) == (registry.url, registry.name)
        return "" if is_same else f"It follows {known.registered_model} at {known.url}, which stays."
    try:
        with transaction.atomic():
            _note_champion(item, model)
            connect(
                model=model, actor=_actor(item), url=registry.url, registered_model=registry.name,
                secret=registry.secret,
            )  # fmt: skip
    except Problem as problem:
        return f"It does not follow the registered model. {problem.detail}"
    return ""


def _note_champion(item: ImportedModel, model: Model) -> None:
    """Store which version of MLflow answers here, so that MLflow's alias can come back to it."""
    champion = _fresh(model).deployment.champion
    for row in item.versions.filter(version=champion) if champion else []:
        MlflowVersion.objects.get_or_create(
            model=model, url=item.registry_import.url, registered_model=item.registered_model, number=row.number,
            defaults={"version": champion, "state": MlflowVersion.State.CHAMPION},
        )  # fmt: skip
