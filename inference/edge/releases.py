"""Releases: a version goes over the devices of a group ring by ring, and back where too many of them fail.

The rings are judged whenever a device is heard of or revoked, so no process waits for them. A ring is over when each of
its devices has reported and one of them succeeded, but for those that are silent (`SILENT_AFTER` since it began), of
which nobody knows when they come back. Devices that are silent when a release begins are in its last ring.
"""

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from inference.edge.events import record_abortion
from inference.edge.models import (
    SILENT_AFTER,
    Device,
    DeviceGroup,
    Release,
    ReleaseState,
    ReleaseTarget,
    TargetState,
)
from inference.registry.models import Version
from inference.registry.selectors import get_version

DEFAULT_RINGS = (1, 10, 100)
DEFAULT_ABORT_SHARE = 0.2
MAX_RINGS = 10
AUTOMATIC = "the release itself"


# -- what a group has ----------------------------------------------------------------------------------------------
def running_release(group: DeviceGroup) -> Release | None:
    """Return the release that is under way."""
    return group.releases.filter(state=ReleaseState.RUNNING).select_related("version").first()


def current_release(group: DeviceGroup) -> Release | None:
    """Return the newest release that was completed, which is what the whole group has."""
    completed = group.releases.filter(state=ReleaseState.COMPLETED)
    return completed.select_related("version").order_by("-pk").first()


def assigned_release(device: Device) -> Release | None:
    """Return what a device should have: the release under way once its ring is reached, else the current one."""
    running = running_release(device.group)
    if running is not None:
        target = running.targets.filter(device=device).first()
        ring = target.ring if target else len(running.rings) - 1  # it came after the release began
        if ring <= running.ring:
            return running
    return current_release(device.group)


def newest_by_group(groups: QuerySet[DeviceGroup], state: ReleaseState) -> dict[int, Release]:
    """Return the newest release in a state of each group that has one, by the group's id."""
    releases = Release.objects.filter(group__in=groups, state=state).select_related("version")
    newest = releases.order_by("group_id", "-pk").distinct("group_id")
    return {release.group_id: release for release in newest}


def use_on_devices(version: Version) -> str:
    """Return on which devices a version is or should be, and how that ends; empty for one that is on none."""
    groups = DeviceGroup.objects.filter(model=version.model_id).order_by("pk")
    names = [group.name for group in groups if _is_on(version, group)]
    if not names:
        return ""
    return (
        f"on the devices of {' and '.join(names)}; release another version there, and revoke devices that do not come "
        "back for it"
    )


def _is_on(version: Version, group: DeviceGroup) -> bool:
    assigned = [release.version_id for release in (running_release(group), current_release(group)) if release]
    # a device without a network, or with an aborted first release, keeps what it has
    return version.pk in assigned or group.devices.active().filter(version=version.version).exists()


# -- what people do ------------------------------------------------------------------------------------------------
def start_release(
    *,
    group: DeviceGroup,
    version: str,
    actor: str,
    now: datetime,
    rings: Sequence[int] = DEFAULT_RINGS,
    abort_share: float = DEFAULT_ABORT_SHARE,
) -> Release:
    """Start to bring a version to the devices of a group. Raises Problem 404, 409 or 422."""
    _check_rings(rings, abort_share)
    found = get_version(model=group.model, version=version)
    if not found.has_artifact or found.archived_at is not None:
        raise Problem(
            409,
            "version_not_releasable",
            f"Version {found.version} has no file that devices could run; choose another.",
        )
    with transaction.atomic():
        _lock(group)
        running = running_release(group)
        if running is not None:
            raise Problem(
                409,
                "release_running",
                f"Version {running.version.version} is on its way to {group.name}; abort that release first.",
            )
        release = Release.objects.create(
            group=group, version=found, rings=list(rings), abort_share=abort_share, created_by=actor,
            ring_began_at=now,
        )  # fmt: skip
        _choose_targets(release, now)
        _record(release, "release.start", actor, rings=list(rings), abort_share=abort_share)
        _judge(release, now)
        _change_assignments(group)
    return release


def abort_release(*, release: Release, reason: str, actor: str, now: datetime) -> None:
    """Send all devices back to what the group had before. Raises Problem 409 for a release that has ended."""
    with transaction.atomic():
        _lock(release.group)
        release.refresh_from_db()
        if release.state != ReleaseState.RUNNING:
            raise Problem(409, "release_ended", f"This release is {release.state} already.")
        _end(release, ReleaseState.ABORTED, now, reason=reason, actor=actor)


def abort_running(*, group: DeviceGroup, actor: str, now: datetime, reason: str = "") -> Release:
    """Abort the release that is under way and return it. Raises Problem 409 where there is none."""
    release = running_release(group)
    if release is None:
        raise Problem(409, "no_release", "No release is under way in this group.")
    abort_release(release=release, reason=reason or f"by {actor}", actor=actor, now=now)
    return release


def _check_rings(rings: Sequence[int], abort_share: float) -> None:
    rising = all(0 < one < other for one, other in pairwise(rings))
    if not rings or len(rings) > MAX_RINGS or not rising or rings[0] < 1 or rings[-1] != 100:
        raise invalid(
            "/rings",
            f"Rings are up to {MAX_RINGS} rising shares in per cent that end in 100, such as 1, 10, 100.",
        )
    if not 0 <= abort_share < 1:
        raise invalid(
            "/abort_share", "The share of devices that may fail is at least 0 and below 1, such as 0.2."
        )


def _choose_targets(release: Release, now: datetime) -> None:
    """Put each enrolled device into its ring, in an order that is another one in each release.

    Silent devices are in the last ring, as they try no version for the others; where all are silent, nobody knows which
    of them come back, and all are treated alike.
    """
    devices = release.group.devices.active().exclude(enrolled_at=None)
    heard = set(devices.heard_since(now - SILENT_AFTER).values_list("pk", flat=True))
    ordered = sorted(
        (device for device in devices if not heard or device.pk in heard),
        key=lambda device: hashlib.sha256(f"{release.pk}:{device.pk}".encode()).digest(),
    )
    ends = [math.ceil(len(ordered) * percent / 100) for percent in release.rings]
    rings = {
        device.pk: next(ring for ring, end in enumerate(ends) if place < end)
        for place, device in enumerate(ordered)
    }
    last = len(release.rings) - 1
    ReleaseTarget.objects.bulk_create(
        ReleaseTarget(release=release, device=device, ring=rings.get(device.pk, last)) for device in devices
    )


# -- what devices report -------------------------------------------------------------------------------------------
def record_outcome(*, device: Device, release_id: int, failure: str, now: datetime) -> None:
    """Note that a device answers with a release, or why it cannot, and judge the ring.

    An outcome of a release that has ended changes nothing of it.
    """
    with transaction.atomic():
        _lock(device.group)
        release = running_release(device.group)
        if release is None or release.pk != release_id:
            return
        state = TargetState.FAILED if failure else TargetState.SUCCEEDED
        ReleaseTarget.objects.update_or_create(
            release=release,
            device=device,
            defaults={"state": state, "failure": failure, "reported_at": now},
            create_defaults={
                "ring": len(release.rings) - 1, "state": state, "failure": failure, "reported_at": now,
            },
        )  # fmt: skip
        _judge(release, now)


def judge_group(group: DeviceGroup, *, now: datetime) -> None:
    """Judge the release that is under way, where devices fell silent or were revoked."""
    if running_release(group) is None:
        return
    with transaction.atomic():
        _lock(group)
        release = running_release(group)
        if release is not None:
            _judge(release, now)


def _judge(release: Release, now: datetime) -> None:
    """Abort a release of which too many devices fail, else go on to the next ring once this one is over."""
    while release.state == ReleaseState.RUNNING:
        reached = _count_reached(release, now)
        if reached.failed > release.abort_share * reached.devices:
            reason = f"{reached.failed} of {reached.devices} devices at {release.percent} % failed"
            _end(release, ReleaseState.ABORTED, now, reason=reason, actor=AUTOMATIC)
            return
        if reached.awaited or (reached.triers and not reached.succeeded):
            return
        if release.ring + 1 == len(release.rings):
            _end(release, ReleaseState.COMPLETED, now, reason="", actor=AUTOMATIC)
            return
        release.ring, release.ring_began_at = release.ring + 1, now
        release.save(update_fields=["ring", "ring_began_at"])
        _record(release, "release.advance", AUTOMATIC, percent=release.percent)
        _change_assignments(release.group)


class ReachedCounts(NamedTuple):
    """Devices that a release has come to: all, those that failed, and those that may still report.

    A ring is tried by its own devices, the last one by all; `succeeded` of these `triers` answer with the version.
    """

    devices: int
    failed: int
    awaited: int
    triers: int
    succeeded: int


def _count_reached(release: Release, now: datetime) -> ReachedCounts:
    """Count by one query; after a time without the server each device has a fresh hour in its ring."""
    may_report = Q(device__last_seen_at__gte=now - SILENT_AFTER)
    if release.ring_began_at > now - SILENT_AFTER:
        may_report |= Q(ring=release.ring)
    is_last = release.ring + 1 == len(release.rings)
    tries = Q(ring__lte=release.ring) if is_last else Q(ring=release.ring)
    targets = release.targets.filter(ring__lte=release.ring, device__revoked_at=None)
    counts = targets.aggregate(
        devices=Count("pk"),
        failed=Count("pk", filter=Q(state=TargetState.FAILED)),
        awaited=Count("pk", filter=may_report & Q(state=TargetState.WAITING)),
        triers=Count("pk", filter=tries),
        succeeded=Count("pk", filter=tries & Q(state=TargetState.SUCCEEDED)),
    )
    return ReachedCounts(**counts)


def _end(release: Release, state: ReleaseState, now: datetime, *, reason: str, actor: str) -> None:
    release.state, release.ended_at, release.reason = state, now, reason
    release.save(update_fields=["state", "ended_at", "reason"])
    action = "release.abort" if state == ReleaseState.ABORTED else "release.complete"
    _record(release, action, actor, **({"reason": reason} if reason else {}))
    if state == ReleaseState.ABORTED:
        record_abortion(release, actor)
    _change_assignments(release.group)


def _lock(group: DeviceGroup) -> None:
    """Lock a group, so that one change of it at a time decides who gets what."""
    DeviceGroup.objects.select_for_update().get(pk=group.pk)


def _change_assignments(group: DeviceGroup) -> None:
    DeviceGroup.objects.filter(pk=group.pk).update(generation=F("generation") + 1)


def _record(release: Release, action: str, actor: str, **after: object) -> None:
    record_audit(
        project=release.group.project,
        actor=actor,
        action=action,
        subject=str(release),
        after={"version": release.version.version, **after},
    )
