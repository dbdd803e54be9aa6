"""Summaries of rows that devices did not send whole, over HTTP, with the token of the device."""

from django.http import HttpRequest
from ninja import Router

from driftline.base.clock import now
from driftline.base.errors import invalid
from inference.edge.credentials import DeviceToken, device_of
from inference.edge.reports import note_seen
from inference.prediction_log.rows.sent_items import DEFAULT_ROLE
from monitors.summaries.uploads.api import LayoutAsked, SummaryBatchBody, sent_windows
from monitors.summaries.uploads.layout import fix_centres
from monitors.summaries.uploads.schemas import LayoutOut, SummaryBatchOut
from monitors.summaries.uploads.services import add_batch

router = Router(tags=["devices"])


@router.post("/devices/self/summaries/layout", auth=DeviceToken(), response=LayoutOut)
def ask_device_layout(request: HttpRequest, body: LayoutAsked) -> LayoutOut:
    """Return how rows of a version of the device's model are summarised, as `POST /models/{name}/summaries/layout`."""
    model = device_of(request).group.model
    version = model.versions.select_related("model").filter(version=body.version).first()
    if version is None:
        detail = f"{model.name} has no version {body.version[:80]!r} any more."
        raise invalid("/version", detail, "unknown_version")
    return LayoutOut.of(fix_centres(model, version, body.centres))


@router.put("/devices/self/summaries", auth=DeviceToken(), response=SummaryBatchOut)
def add_device_summaries(request: HttpRequest, body: SummaryBatchBody) -> SummaryBatchOut:
    """Add hours that the device summarised; a batch is called `<device>:...`, and the same one again adds nothing."""
    device = device_of(request)
    if not body.batch.startswith(f"{device.name}:"):
        raise invalid(
            "/batch", f"A batch of this device is called {device.name}:..., not {body.batch[:80]!r}."
        )
    windows = sent_windows(body)
    for place, window in enumerate(windows):
        if window.role != DEFAULT_ROLE:
            raise invalid(f"/windows/{place}/role", f"Rows of devices have the role {DEFAULT_ROLE}.")
    note_seen(device, now=now())
    batch, is_new = add_batch(
        model=device.group.model, name=body.batch, windows=windows, actor=f"device {device.name}", now=now()
    )
    return SummaryBatchOut.of(batch, is_new=is_new)
