"""Reads of the registry."""

import msgspec
from django.conf import settings
from django.db.models import QuerySet

from driftline.base.accounts.models import Project
from driftline.base.errors import not_found
from driftline.base.ttl_cache import TtlCache
from inference.prediction_log.spool.privacy import Privacy, keeps_image
from inference.registry.models import Model, ModelTask, Version
from inference.signatures import Signature

privacies: TtlCache[int, Privacy] = TtlCache()  # by model id; who changes one forgets them


def get_model(*, project: Project, name: str) -> Model:
    """Find a model of this project with its deployment; another project's model looks like none."""
    return _only(Model.objects.of_project(project).filter(name=name).select_related("deployment__champion"))


def find_model(*, project: Project, name: str) -> Model:
    """Find a model of this project by itself, for a caller who does not ask what is deployed."""
    return _only(Model.objects.of_project(project).filter(name=name))


def _only(models: QuerySet[Model]) -> Model:
    model = models.first()
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


def privacy_of(model_id: int) -> Privacy:
    """Read what becomes of a model's features before they are kept; a change counts within a second."""
    return privacies.get(model_id, lambda: _read_privacy(model_id))


def shows_image(model: Model, version: Version) -> bool:
    """Return whether thumbnails of the image that a version takes may be seen, as its model's privacy is now."""
    image = signature_of(version).image_input
    return image is not None and keeps_image(model.privacy, image)


def _read_privacy(model_id: int) -> Privacy:
    policies = Model.objects.filter(pk=model_id).values_list("privacy", flat=True).first()
    return Privacy(model_id, policies or {}, settings.HASH_KEY)


def unlearnt_signature(task: str) -> Signature:
    """Describe an external version of which only the task is known: a binary one answers 0 or 1."""
    binary = task == ModelTask.BINARY
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
