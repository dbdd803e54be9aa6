"""Devices, groups and releases over HTTP, for people and their programs."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from inference.edge import enrolment, releases
from inference.edge.groups import change_group as change_settings
from inference.edge.groups import create_group, get_device, get_group
from inference.edge.groups import delete_group as remove_group
from inference.edge.models import Device, DeviceGroup, Release
from inference.edge.schemas import CodeOut, DeviceGroupOut, DeviceOut, ReleaseOut
from inference.registry.selectors import get_model

router = Router(tags=["devices"])

_SAMPLING = "share of rows that devices send as they are; of the others they send hourly summaries"
_ASK_BELOW = "devices have the server answer where their model's confidence is lower, 0 to 1; null for never"
_ASK_AFTER = "devices have the server answer once their version was released so many days ago; null for never"


class NewGroup(Body):
    name: str = Field(max_length=60)
    model: str = Field(max_length=100, description="the model that its devices answer for")
    sampling: float = Field(1.0, description=_SAMPLING)
    ask_below: float | None = Field(None, description=_ASK_BELOW)
    ask_after_days: int | None = Field(None, description=_ASK_AFTER)


class GroupChange(Body):
    """What is to be another; what is not given stays."""

    sampling: float = Field(1.0, description=_SAMPLING)
    ask_below: float | None = Field(None, description=_ASK_BELOW)
    ask_after_days: int | None = Field(None, description=_ASK_AFTER)


class NewDevice(Body):
    name: str = Field(max_length=60)
    group: int = Field(description="the number of its group")


class NewRelease(Body):
    version: str = Field(max_length=64)
    rings: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        list(releases.DEFAULT_RINGS),
        max_length=releases.MAX_RINGS,
        description="shares of the devices in per cent, rising to 100",
    )
    abort_share: float = Field(
        releases.DEFAULT_ABORT_SHARE, description="share of the ring's devices that may fail; more abort it"
    )


class Abortion(Body):
    reason: str = Field("", max_length=300)


# -- groups and releases -------------------------------------------------------------------------------------------
@router.get("/device-groups", auth=Scoped(Scope.READ), response=Page[DeviceGroupOut])
def list_groups(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[DeviceGroupOut]:
    """List the groups of devices, oldest first."""
    groups = DeviceGroup.objects.filter(project=caller_of(request).project).select_related("model")
    return page(groups, DeviceGroupOut.of, by=("pk",), cursor=cursor, limit=limit)


@router.post("/device-groups", auth=Scoped(SCOPE_OF["device"]), response={201: DeviceGroupOut})
def add_group(request: HttpRequest, body: NewGroup) -> Status[DeviceGroupOut]:
    """Make a group of devices that answer for one model."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=body.model)
    settings = body.model_dump(exclude={"name", "model"}, exclude_unset=True)
    group = create_group(model=model, name=body.name, actor=caller.actor, **settings)
    return Status(201, DeviceGroupOut.of(group))


@router.patch("/device-groups/{int:group_id}", auth=Scoped(SCOPE_OF["device"]), response=DeviceGroupOut)
def change_group(request: HttpRequest, group_id: int, body: GroupChange) -> DeviceGroupOut:
    """Change how the devices of a group send rows and when they ask the server, from their next polls on."""
    caller = caller_of(request)
    group = get_group(project=caller.project, group_id=group_id)
    change_settings(group=group, actor=caller.actor, **body.model_dump(exclude_unset=True))
    return DeviceGroupOut.of(group)


@router.delete("/device-groups/{int:group_id}", auth=Scoped(SCOPE_OF["device"]), response={204: None})
def delete_group(request: HttpRequest, group_id: int) -> Status[None]:
    """Delete a group that never had a device; 409 for one that has or had any."""
    caller = caller_of(request)
    remove_group(group=get_group(project=caller.project, group_id=group_id), actor=caller.actor)
    return Status(204, None)


@router.get("/device-groups/{int:group_id}/releases", auth=Scoped(Scope.READ), response=Page[ReleaseOut])
def list_releases(
    request: HttpRequest, group_id: int, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[ReleaseOut]:
    """List the releases of a group, newest first; the newest completed one is what its devices have."""
    group = get_group(project=caller_of(request).project, group_id=group_id)
    rows = Release.objects.filter(group=group).with_counts().with_failures().select_related("version")
    return page(rows, ReleaseOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.post(
    "/device-groups/{int:group_id}/releases", auth=Scoped(SCOPE_OF["device"]), response={201: ReleaseOut}
)
def start_release(request: HttpRequest, group_id: int, body: NewRelease) -> Status[ReleaseOut]:
    """Bring a version to the devices of a group, ring by ring; 409 while another release is under way.

    A ring is over when its devices answer with the version, without those that were silent for an hour. Where more
    than `abort_share` of them fail, all devices go back to the earlier version at their next poll.
    """
    caller = caller_of(request)
    group = get_group(project=caller.project, group_id=group_id)
    release = releases.start_release(
        group=group,
        version=body.version,
        rings=body.rings,
        abort_share=body.abort_share,
        actor=caller.actor,
        now=now(),
    )
    return Status(201, _as_read(release))


@router.post("/device-groups/{int:group_id}/abort", auth=Scoped(SCOPE_OF["device"]), response=ReleaseOut)
def abort_release(request: HttpRequest, group_id: int, body: Abortion | None = None) -> ReleaseOut:
    """Abort the release that is under way: all devices go back to the earlier version."""
    caller = caller_of(request)
    group = get_group(project=caller.project, group_id=group_id)
    reason = body.reason if body else ""
    return _as_read(releases.abort_running(group=group, reason=reason, actor=caller.actor, now=now()))


def _as_read(release: Release) -> ReleaseOut:
    read = Release.objects.with_counts().with_failures().select_related("version")
    return ReleaseOut.of(read.get(pk=release.pk))


# -- devices -------------------------------------------------------------------------------------------------------
@router.get("/devices", auth=Scoped(Scope.READ), response=Page[DeviceOut])
def list_devices(
    request: HttpRequest, group: int | None = None, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[DeviceOut]:
    """List the devices, or those of one group, oldest first; revoked ones stay in the list."""
    devices = Device.objects.filter(project=caller_of(request).project).select_related("group")
    if group is not None:
        devices = devices.filter(group=get_group(project=caller_of(request).project, group_id=group))
    moment = now()
    return page(devices, lambda one: DeviceOut.of(one, moment), by=("pk",), cursor=cursor, limit=limit)


@router.post("/devices", auth=Scoped(SCOPE_OF["device"]), response={201: CodeOut})
def add_device(request: HttpRequest, body: NewDevice) -> Status[CodeOut]:
    """Make a device, and a code with which its agent enrols once, within a day."""
    caller = caller_of(request)
    group = get_group(project=caller.project, group_id=body.group)
    device, code = enrolment.create_device(group=group, name=body.name, actor=caller.actor, now=now())
    return Status(201, _with_code(device, code))


@router.get("/devices/{int:device_id}", auth=Scoped(Scope.READ), response=DeviceOut)
def read_device(request: HttpRequest, device_id: int) -> DeviceOut:
    """Read a device, and what it said of itself last."""
    return DeviceOut.of(get_device(project=caller_of(request).project, device_id=device_id), now())


@router.post("/devices/{int:device_id}/code", auth=Scoped(SCOPE_OF["device"]), response={201: CodeOut})
def renew_code(request: HttpRequest, device_id: int) -> Status[CodeOut]:
    """Make another code for a device with an agent that was installed anew; using it ends the earlier token."""
    caller = caller_of(request)
    device = get_device(project=caller.project, device_id=device_id)
    return Status(201, _with_code(device, enrolment.renew_code(device=device, actor=caller.actor, now=now())))


@router.post("/devices/{int:device_id}/revoke", auth=Scoped(SCOPE_OF["device"]), response=DeviceOut)
def revoke_device(request: HttpRequest, device_id: int) -> DeviceOut:
    """Refuse a device from now on, such as one that was stolen; its name stays taken."""
    caller = caller_of(request)
    device = get_device(project=caller.project, device_id=device_id)
    enrolment.revoke_device(device=device, actor=caller.actor, now=now())
    device.refresh_from_db()
    return DeviceOut.of(device, now())


def _with_code(device: Device, code: str) -> CodeOut:
    assert device.code_expires_at is not None
    return CodeOut(device=DeviceOut.of(device, now()), code=code, expires_at=device.code_expires_at)
