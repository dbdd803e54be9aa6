"""Groups of devices: who is in one answers for its model."""

import re

from django.db import IntegrityError, transaction

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.common.errors import Problem, invalid, not_found
from inference.edge.models import Device, DeviceGroup
from inference.registry.models import Model

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?!\d+$)){0,59}")


def check_name(name: str, *, what: str) -> None:
    """Refuse what cannot name a device or a group; a dash with digits ends the ids of a device's predictions."""
    if not _NAME.fullmatch(name):
        raise invalid(
            "/name",
            f"{name[:60]!r} cannot name a {what}; use 1 to 60 letters, digits, dots, dashes and underscores that "
            "do not end in a dash and digits.",
        )


def create_group(*, model: Model, name: str, actor: str, sampling: float = 1.0) -> DeviceGroup:
    """Make a group of devices that answer for a model. Raises Problem 422, or 409 for a name that is taken.

    `sampling` is the share of rows that devices send as they are; of the others they send hourly summaries.
    """
    check_name(name, what="group")
    _check_sampling(model, sampling)
    try:
        with transaction.atomic():
            group = DeviceGroup.objects.create(
                project=model.project, model=model, name=name, sampling=sampling
            )
            record_audit(
                project=model.project,
                actor=actor,
                action="device_group.create",
                subject=name,
                after={"model": model.name, "sampling": sampling},
            )
    except IntegrityError as error:
        raise Problem(
            409, "group_exists", f"There is a group {name} already; choose another name."
        ) from error
    return group


def change_sampling(*, group: DeviceGroup, sampling: float, actor: str) -> None:
    """Change which share of rows the devices of a group send as they are, from their next polls on.

    Raises Problem 422.
    """
    _check_sampling(group.model, sampling)
    with transaction.atomic():
        before = DeviceGroup.objects.select_for_update().get(pk=group.pk).sampling
        DeviceGroup.objects.filter(pk=group.pk).update(sampling=sampling)
        record_audit(
            project=group.project, actor=actor, action="device_group.update", subject=group.name,
            before={"sampling": before}, after={"sampling": sampling},
        )  # fmt: skip
    group.sampling = sampling


def _check_sampling(model: Model, sampling: float) -> None:
    if not 0 <= sampling <= 1:
        raise invalid("/sampling", "The share of rows that are sent whole is from 0 to 1, such as 0.1.")
    if sampling < 1 and model.task == "ranking":
        raise invalid(
            "/sampling",
            "Rows of a ranking belong to queries, which no summary holds; send all of them whole.",
        )


def get_group(*, project: Project, group_id: int) -> DeviceGroup:
    """Find a group of this project; another project's group looks like none."""
    group = (
        DeviceGroup.objects.filter(project=project, pk=group_id).select_related("model", "project").first()
    )
    if group is None:
        raise not_found("group")
    return group


def get_device(*, project: Project, device_id: int) -> Device:
    """Find a device of this project with its group; another project's device looks like none."""
    devices = Device.objects.filter(project=project, pk=device_id)
    device = devices.select_related("group__model", "project").first()
    if device is None:
        raise not_found("device")
    return device
