"""Reads of the registry."""

import msgspec

from driftline.accounts.models import Project
from driftline.common.errors import not_found
from inference.registry.models import Model, Task, Version
from inference.serving.plan import Signature


def get_model(*, project: Project, name: str) -> Model:
    """Find a model of this project; another project's model looks like none."""
    model = Model.objects.of_project(project).filter(name=name).select_related("deployment__champion").first()
    if model is None:
        raise not_found("model")
    return model


def get_version(*, model: Model, version: str) -> Version:
    """Find a version of this model."""
    found = model.versions.filter(version=version).first()
    if found is None:
        raise not_found("version")
    return found


def signature_of(version: Version) -> Signature:
    """Read a version's signature; an external version whose reference has not named its features has a plain one."""
    return (
        msgspec.convert(version.signature, Signature)
        if version.signature
        else unlearnt_signature(version.model.task)
    )


def unlearnt_signature(task: str) -> Signature:
    """Describe an external version of which only the task is known: a binary one answers 0 or 1."""
    binary = task == Task.BINARY
    return Signature(
        features=[],
        inputs=[],
        outputs=[],
        prediction_output=None,
        probabilities_output=None,
        classes=["0", "1"] if binary else [],
        positive_class="1" if binary else None,
        missing={},
        task=task,
    )
