"""Which class of a binary version counts as positive: the one that its logged probabilities are of."""

from collections.abc import Sequence

import msgspec
from django.db import transaction
from msgspec.structs import replace

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from inference.registry.models import Version
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.selectors import signature_of
from inference.registry.signals import classes_changed
from inference.signatures import Signature


def check_positive_class(positive_class: str, *, task: str, classes: Sequence[str]) -> None:
    """Raise Problem (422) for a class that cannot be the positive one of a version."""
    if task != "binary":
        raise invalid("/positive_class", f"Only a binary model has a positive class; this one is {task}.")
    if positive_class not in classes:
        known = " and ".join(map(repr, classes)) or "not known yet"
        raise invalid("/positive_class", f"{positive_class[:64]!r} is no class; the classes are {known}.")


def with_positive_class(version: Version, positive_class: str) -> Signature:
    """Return a version's signature with another positive class; raises Problem where it cannot be chosen."""
    signature = signature_of(version)
    if positive_class == signature.positive_class:
        return signature
    if not version.is_external:
        raise Problem(
            409,
            "positive_class_declared",
            f"Version {version.version} declared {signature.positive_class!r} when it was registered; register it "
            "again with another positive class.",
        )
    if version.signature is None:
        raise Problem(
            409,
            "unknown_classes",
            f"The classes of version {version.version} are not known; upload its reference first.",
        )
    check_positive_class(positive_class, task=signature.task, classes=signature.classes)
    return replace(signature, positive_class=positive_class)


def choose_positive_class(*, version: Version, positive_class: str, actor: str) -> None:
    """Count another class of a version as positive, by which its reference and its windows are computed again.

    What was logged as one probability is of this class from now on.
    """
    with transaction.atomic():
        before, after = signature_of(version), with_positive_class(version, positive_class)
        if after == before:
            return
        version.signature = msgspec.to_builtins(after)
        version.save(update_fields=["signature"])
        record_audit(
            project=version.model.project,
            actor=actor,
            action="version.update",
            subject=str(version),
            before={"positive_class": before.positive_class},
            after={"positive_class": after.positive_class},
        )
        publish_on_commit(version.model)
        classes_changed.send(sender=Version, version=version)
