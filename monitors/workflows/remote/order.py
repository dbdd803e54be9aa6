"""What every pipeline gets: where the snapshot is, what a challenger has to be, and where to send it."""

from django.conf import settings

from inference.signatures import Signature
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.remote.schemas import (
    CallbackOut,
    RequestedModelOut,
    RunTriggerOut,
    SnapshotFileOut,
    SnapshotPartOut,
    TrainingOrderOut,
)
from monitors.workflows.remote.snapshot_file import part_name
from monitors.workflows.remote.tokens import token_of
from monitors.workflows.starting.training import layout_of


def order_of(run: Run, training: RemoteTraining, signature: Signature) -> TrainingOrderOut:
    """Write the order of a run, of which the champion has this signature; a start that is repeated sends the same."""
    api = f"{settings.PUBLIC_URL}/api/v1/runs/{run.pk}"
    return TrainingOrderOut(
        url=f"{api}/order",
        run=run.pk,
        model=run.model.name,
        task=signature.task,
        trigger=_trigger(run),
        snapshot=_snapshot(run, training, f"{api}/snapshot"),
        job=RequestedModelOut(
            features=signature.features,
            classes=signature.classes,
            positive_class=signature.positive_class,
            missing=signature.missing,
            layout=layout_of(signature),
            parameters=training.parameters,
            seed=run.pk,
        ),
        callback=CallbackOut(
            artifact=f"{api}/artifact",
            progress=f"{api}/progress",
            failed=f"{api}/failed",
            token=token_of(training) or "",  # the pipeline has it already where the key is not kept any more
            deadline=training.deadline,
        ),
    )


def _snapshot(run: Run, training: RemoteTraining, url: str) -> SnapshotFileOut:
    whole = {name: value for name, value in training.snapshot.items() if name != "parts"}
    return SnapshotFileOut(url=url, until=run.data_until, parts=_parts(training, url), **whole)


def _parts(training: RemoteTraining, url: str) -> list[SnapshotPartOut]:
    """List the parts with their addresses: in the snapshot store, or here where there is none."""
    return [
        SnapshotPartOut(
            url=f"{training.parts_url}/{part_name(number)}" if training.parts_url else f"{url}?part={number}",
            **part,
        )
        for number, part in enumerate(training.snapshot.get("parts", []))
    ]


def _trigger(run: Run) -> RunTriggerOut:
    return RunTriggerOut(
        text=run.trigger,
        rule=run.transition.rule.name if run.transition else None,
        url=f"{run.model.project.url}/models/{run.model.name}/runs/{run.pk}",
    )
