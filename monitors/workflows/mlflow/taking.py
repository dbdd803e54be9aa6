"""Takes a version of MLflow: its ONNX goes through the intake, and a run compares it with the champion."""

import msgspec
from django.db.models import Q

from driftline.base.work.leased_work import WorkLease
from inference.registry.lineage import Lineage
from inference.registry.models import Model, Version
from inference.registry.selectors import get_model
from inference.registry.versions import upload_version
from monitors.workflows.mlflow.client import RegisteredModel, registry_of
from monitors.workflows.mlflow.files import download_onnx, read_flavor
from monitors.workflows.mlflow.models import MlflowVersion
from monitors.workflows.mlflow.reporting import report_later
from monitors.workflows.models import ACTIVE_STATES, Run
from monitors.workflows.starting.arrivals import arriving_file, metadata_of_champion
from monitors.workflows.starting.patience import NotYet, attempt_patiently
from monitors.workflows.starting.starts import UnableToStart, check_automatic, newest_data, start_run


def take_version(taken_id: int) -> bool:
    """Take a version, or go on with it, where that is due; returns whether it was."""
    return attempt_patiently(MlflowVersion.objects.filter(pk=taken_id), _take)


def _take(lease: WorkLease[MlflowVersion]) -> None:
    taken = lease.read()
    model = get_model(project=taken.model.project, name=taken.model.name)
    connection, registry = registry_of(model, taken)
    if taken.version is None and connection.alias_version != taken.number:
        lease.finish(MlflowVersion.State.SUPERSEDED)  # it is taken up again when the alias comes back
        return
    version = taken.version or _bring(lease, taken, model, registry)
    _compare(lease, model, version)


# -- its file ----------------------------------------------------------------------------------------------------------
def _bring(
    lease: WorkLease[MlflowVersion], taken: MlflowVersion, model: Model, registry: RegisteredModel
) -> Version:
    """Download the ONNX and register it; a file that the model has already is that version."""
    mlflow_run = registry.run_of(taken.number)
    flavor = read_flavor(registry, taken.number)
    with arriving_file() as file:
        download_onnx(registry, taken.number, flavor, file)
        version, _ = upload_version(
            model=model,
            stream=file,
            metadata=msgspec.json.encode(metadata_of_champion(model) or flavor.metadata),
            lineage=Lineage(
                trigger=str(taken)[:200],
                parameters={"server": "mlflow", "run_id": mlflow_run},
                uri=taken.page[:500],
            ),
            actor=_actor(taken),
        )
    lease.write(version=version)
    lease.note_progress()
    return version


def _actor(taken: MlflowVersion) -> str:
    return f"MLflow {taken.registered_model}"[:200]


# -- its run -----------------------------------------------------------------------------------------------------------
def _compare(lease: WorkLease[MlflowVersion], model: Model, version: Version) -> None:
    """Start the run, or use one that compares the version already; raises NotYet while none can start."""
    try:
        with lease.fenced() as taken:
            model.deployment.refresh_from_db()
            connection, _ = registry_of(model, taken)  # a download takes minutes
            if model.deployment.champion_id == version.pk:
                lease.finish(MlflowVersion.State.CHAMPION)
                report_later(version)
                return
            known = Run.objects.filter(model=model, challenger=version)
            is_same = Q(state__in=ACTIVE_STATES) | Q(created_at__gte=taken.created_at)
            run = known.filter(is_same).order_by("-pk").first()  # a person may have started and ended it
            if run is None and connection.alias_version != taken.number:
                lease.finish(MlflowVersion.State.SUPERSEDED)
                return
            run = run or _start(model, version, taken)
            lease.finish(MlflowVersion.State.COMPARED, run=run)
    except UnableToStart as refusal:
        raise NotYet(f"The run has to wait. {refusal.detail}") from refusal


def _start(model: Model, version: Version, taken: MlflowVersion) -> Run:
    until = newest_data(model)
    check_automatic(model, until)
    return start_run(
        model=model,
        trigger=str(taken)[:200],
        actor=_actor(taken),
        data_until=until,
        version=version.version,
        is_automatic=True,
    )
