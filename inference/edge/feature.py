"""What devices add to the product."""

from collections.abc import Iterator

from driftline.base.accounts.models import Project
from driftline.base.feature import PageLink, ProductFeature
from inference.edge import receivers  # noqa: F401  they connect devices to the registry
from inference.edge.agent_api import router as agents
from inference.edge.api import router
from inference.edge.models import Device, DeviceGroup, Release, ReleaseState
from inference.edge.pinned_keys import devices_behind


def _active_work(project: Project) -> Iterator[str]:
    running = Release.objects.filter(group__project=project, state=ReleaseState.RUNNING)
    for release in running.select_related("group", "version__model").order_by("pk"):
        yield f"the release of {release}"


FEATURE = ProductFeature(
    "devices",
    routers=[router, agents],
    pages="inference.edge.pages.urls",
    objects={"device_group": DeviceGroup, "device_code": Device, "device_revoke": Device},
    navigation=[PageLink("devices", "Devices")],
    admin="inference.edge.pages.admin",
    active_work=_active_work,
    behind_edge_key=lambda: devices_behind().count(),
)
