"""Groups of devices: who is in one answers for its model."""

import re
from typing import TypedDict, Unpack

from django.db import IntegrityError, transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid, not_found
from inference.edge.models import Device, DeviceGroup
from inference.registry.models import Model
from inference.registry.plan.publishing import publish_on_commit

MAX_ASK_DAYS = 3_650
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?!\d+$)){0,59}")


def check_name(name: str, *, what: str) -> None:
    """Refuse what cannot name a device or a group; a dash with digits ends the ids of a device's predictions."""
    if not _NAME.fullmatch(name):
        raise invalid(
            "/name",
            f"{name[:60]!r} cannot name a {what}; use 1 to 60 letters, digits, dots, dashes and underscores that "
            "do not end in a dash and digits.",
        )


class GroupSettings(TypedDict, total=False):
    """What may be changed of a group; devices follow at their next polls.

    `sampling` is the share of rows that devices send as they are; of the others they send hourly summaries. Devices
    have the server answer where their model's confidence is lower than `ask_below`, and once their version was released
    more than `ask_after_days` ago; None for never.
    """

    sampling: float
    ask_below: float | None
    ask_after_days: int | None


def create_group(*, model: Model, name: str, actor: str, **settings: Unpack[GroupSettings]) -> DeviceGroup:
    """Make a group of devices that answer for a model. Raises Problem 422, or 409 for a name that is taken."""
    check_name(name, what="group")
    _check(model, settings)
    try:
        with transaction.atomic():
            group = DeviceGroup.objects.create(project=model.project, model=model, name=name, **settings)
            record_audit(
                project=model.project,
                actor=actor,
                action="device_group.create",
                subject=name,
                after={"model": model.name} | settings,
            )
    except IntegrityError as error:
        raise Problem(
            409, "group_exists", f"There is a group {name} already; choose another name."
        ) from error
    return group


def change_group(*, group: DeviceGroup, actor: str, **settings: Unpack[GroupSettings]) -> None:
    """Change what is given of a group's settings, with an audit row where that changes any. Raises Problem 422."""
    _check(group.model, settings)
    with transaction.atomic():
        stored = DeviceGroup.objects.select_for_update().get(pk=group.pk)
        before, asked = {name: getattr(stored, name) for name in settings}, stored.asks_server
        for name, value in settings.items():
            setattr(group, name, value)
            setattr(stored, name, value)
        if before == settings:
            return
        stored.save(update_fields=[*settings])
        record_audit(
            project=group.project, actor=actor, action="device_group.update", subject=group.name,
            before=before, after={**settings},
        )  # fmt: skip
        if stored.asks_server != asked:  # the tokens of its devices open inference, or no longer do
            publish_on_commit()


def delete_group(*, group: DeviceGroup, actor: str) -> None:
    """Delete a group that never had a device, such as one made for another model. Raises Problem 409 for others."""
    with transaction.atomic():
        stored = DeviceGroup.objects.select_for_update().get(pk=group.pk)
        if stored.devices.exists():
            raise Problem(
                409,
                "group_has_devices",
                f"{group.name} has or had devices, and their predictions carry its name; revoke the devices that are "
                "not needed, and keep the group.",
            )
        record_audit(
            project=group.project, actor=actor, action="device_group.delete", subject=group.name,
            before={"model": group.model.name},
        )  # fmt: skip
        stored.delete()


def _check(model: Model, settings: GroupSettings) -> None:
    _check_sampling(model, settings.get("sampling", 1.0))
    below, days = settings.get("ask_below"), settings.get("ask_after_days")
    if below is not None and not 0 <= below <= 1:
        raise invalid("/ask_below", "The confidence is from 0 to 1, such as 0.7.")
    if below is not None and model.task not in ("binary", "multiclass"):
        raise invalid("/ask_below", f"A {model.task} model has no confidence; devices can ask by days alone.")
    if days is not None and not 0 <= days <= MAX_ASK_DAYS:
        raise invalid("/ask_after_days", f"Use 0 to {MAX_ASK_DAYS:,} days.")


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
