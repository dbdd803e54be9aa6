"""The rows of devices in the admin."""

from driftline.web.admin.reading import register
from inference.edge.models import Device, DeviceGroup, Release, ReleaseTarget

register(
    DeviceGroup, ("name", "project", "model", "generation", "sampling", "created_at"), ("project",), ("name",)
)
register(
    Device,
    ("name", "project", "group", "version", "last_seen_at", "enrolled_at", "revoked_at"),
    ("project", "group"),
    ("name",),
)
register(
    Release, ("group", "version", "state", "ring", "created_at", "created_by", "ended_at"), ("state", "group")
)
register(ReleaseTarget, ("release", "device", "ring", "state", "reported_at"), ("state",))
