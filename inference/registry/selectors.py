"""Reads of the registry."""

import msgspec

from driftline.accounts.models import Project
from driftline.common.errors import not_found
from inference.registry.models import Model, Version
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


def signature_of(version: Version) -> Signature | None:
    """Read a version's signature; external versions have none until their reference names the features."""
    return msgspec.convert(version.signature, Signature) if version.signature else None
