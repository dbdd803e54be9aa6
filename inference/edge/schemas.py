"""What the API answers about devices, groups and releases, and to agents."""

from datetime import datetime
from typing import Annotated, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.edge.models import DEVICE_STATES, Device, DeviceGroup, Release, ReleaseState


# -- to people -----------------------------------------------------------------------------------------------------
class DeviceOut(ResponseBody, frozen=True):
    """A device, and what it said of itself last; `skew_ms` is how far its clock is behind the server's."""

    id: int
    name: str
    group: str
    state: Annotated[str, one_of(DEVICE_STATES)]
    version: str | None
    runs_on: str | None
    failure: str | None
    last_seen_at: Time | None
    skew_ms: int | None
    unsent_rows: int | None
    dropped_rows: int | None
    agent: str | None
    machine: str | None
    enrolled_at: Time | None
    revoked_at: Time | None

    @classmethod
    def of(cls, device: Device, now: datetime) -> Self:
        """Write a device, with its group read before."""
        return cls(
            id=device.pk,
            name=device.name,
            group=device.group.name,
            state=device.state(now),
            version=device.version or None,
            runs_on=device.runs_on or None,
            failure=device.failure or None,
            last_seen_at=device.last_seen_at,
            skew_ms=device.skew_ms,
            unsent_rows=device.unsent_rows,
            dropped_rows=device.dropped_rows,
            agent=device.agent or None,
            machine=device.machine or None,
            enrolled_at=device.enrolled_at,
            revoked_at=device.revoked_at,
        )


class CodeOut(ResponseBody, frozen=True):
    """A device with the code that enrols it, which is not shown again."""

    device: DeviceOut
    code: str
    expires_at: Time


class DeviceGroupOut(ResponseBody, frozen=True):
    """A group, and the model that its devices answer for; `sampling` is the share of rows that they send whole.

    They ask the server below `ask_below` of confidence, and `ask_after_days` of their version.
    """

    id: int
    name: str
    model: str
    generation: int
    sampling: float
    ask_below: float | None
    ask_after_days: int | None
    created_at: Time

    @classmethod
    def of(cls, group: DeviceGroup) -> Self:
        """Write a group, with its model read before."""
        return cls(
            id=group.pk,
            name=group.name,
            model=group.model.name,
            generation=group.generation,
            sampling=group.sampling,
            ask_below=group.ask_below,
            ask_after_days=group.ask_after_days,
            created_at=group.created_at,
        )


class ReleaseFailureOut(ResponseBody, frozen=True):
    """A device that does not answer with a release, and why."""

    device: str
    reason: str


class ReleaseOut(ResponseBody, frozen=True):
    """A release, and how far it has come: `percent` of the devices may have the version.

    `failures` has the first five of the `failed` devices.
    """

    id: int
    version: str
    state: Annotated[str, one_of(ReleaseState)]
    rings: list[int]
    percent: int
    abort_share: float
    succeeded: int
    failed: int
    waiting: int
    failures: list[ReleaseFailureOut]
    created_at: Time
    created_by: str
    ended_at: Time | None
    reason: str | None

    @classmethod
    def of(cls, release: Release) -> Self:
        """Write a release, with its version, `with_counts` and `with_failures` read before."""
        return cls(
            id=release.pk,
            version=release.version.version,
            state=release.state,
            rings=release.rings,
            percent=release.percent,
            abort_share=release.abort_share,
            succeeded=release.succeeded,
            failed=release.failed,
            waiting=release.waiting,
            failures=[ReleaseFailureOut(one.device.name, one.failure) for one in release.failures],
            created_at=release.created_at,
            created_by=release.created_by,
            ended_at=release.ended_at,
            reason=release.reason or None,
        )


# -- to agents -----------------------------------------------------------------------------------------------------
class EnrolmentOut(ResponseBody, frozen=True):
    """What an agent keeps: its names, its token, and the key that signs its manifests (Ed25519, base64).

    `next_sequence` is the number of its first row.
    """

    device: str
    group: str
    token: str
    public_key: str
    next_sequence: int


class AssignmentOut(ResponseBody, frozen=True):
    """A manifest as the text that was signed, and its signature (base64)."""

    manifest: str
    signature: str


class StatusReceivedOut(ResponseBody, frozen=True):
    """The number that the device's next row has to have at least; an agent that lost its rows goes on from there."""

    next_sequence: int
