"""What devices mean to what is deleted: they go with their model, and hold the versions that are on them."""

from collections.abc import Iterator

from driftline.base.feature import DataRemoval
from inference.edge.models import Device, DeviceGroup
from inference.edge.releases import use_on_devices
from inference.registry.models import Model


def _counts(model: Model) -> Iterator[tuple[int, str]]:
    yield DeviceGroup.objects.filter(model=model).count(), "device group"
    yield Device.objects.filter(group__model=model).count(), "device"


DATA_REMOVAL = DataRemoval(counts=_counts, use_of_version=use_on_devices)
