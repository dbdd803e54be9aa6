"""What agents show: a code that enrols a device once, and the token of a device, which opens its own routes alone."""

from dataclasses import dataclass

from django.db.models import Q
from django.http import HttpRequest
from ninja.security import HttpBearer

from driftline.base.accounts.access.http_auth import Caller, bearer_of, invalid_token, refuse_token_in_url
from driftline.base.accounts.models import digest_of
from driftline.base.accounts.projects import refuse_archived
from driftline.base.errors import Problem
from driftline.base.http.identity import note_identity
from driftline.base.http.rate_budget import budget_of
from inference.edge.enrolment import TOKEN_PREFIX
from inference.edge.models import Device
from inference.serving.plan import INFER_MODEL, PlanToken

REQUESTS_PER_SECOND = 20


@dataclass(frozen=True)
class DeviceCaller(Caller):
    """An agent, which acts for its device; it has no scope, so no other route lets it in."""

    device: Device | None = None


class DeviceToken(HttpBearer):
    """Admits a request with the token of a device that was not revoked."""

    def __call__(self, request: HttpRequest) -> Caller:
        refuse_token_in_url(request)
        caller = self.authenticate(request, bearer_of(request))
        refuse_archived(caller.project)
        note_identity(request, caller.actor)
        caller.take_request()
        return caller

    def authenticate(self, request: HttpRequest, token: str) -> DeviceCaller:
        found = Device.objects.active().filter(token_digest=digest_of(token))
        device = (
            found.select_related("group__model", "project").first()
            if token.startswith(TOKEN_PREFIX)
            else None
        )
        if device is None:
            raise invalid_token("Send the token of a device that is enrolled and was not revoked.")
        return DeviceCaller(
            project=device.project,
            actor=f"device {device.name}",
            source=TOKEN_PREFIX,
            scopes=frozenset(),
            device=device,
            budget=budget_of(device.token_digest, REQUESTS_PER_SECOND, 0),
        )


def list_tokens() -> list[PlanToken]:
    """List the tokens of devices that may ask the server by their group, each for the group's model alone."""
    asking = Q(group__ask_below__isnull=False) | Q(group__ask_after_days__isnull=False)
    devices = Device.objects.active().filter(asking, project__archived_at=None).exclude(token_digest="")
    return [
        PlanToken(
            digest=digest,
            prefix=f"device {name}",
            project_id=project_id,
            scopes=[INFER_MODEL],
            expires_at=None,
            requests_per_second=REQUESTS_PER_SECOND,
            model_id=model_id,
            tags={"device": name, "device_group": group},
        )
        for digest, name, project_id, model_id, group in devices.order_by("pk").values_list(
            "token_digest", "name", "project_id", "group__model_id", "group__name"
        )
    ]


class EnrolmentCode(HttpBearer):
    """Reads the code of an enrolment, which is used up where it is looked up."""

    def __call__(self, request: HttpRequest) -> str:
        refuse_token_in_url(request)
        code = bearer_of(request)
        if not code:
            raise unknown_code()
        return code

    def authenticate(self, request: HttpRequest, token: str) -> str:
        return token


def device_of(request: HttpRequest) -> Device:
    """Return the device that `DeviceToken` let in."""
    caller = request.auth  # type: ignore[attr-defined]
    assert isinstance(caller, DeviceCaller)
    assert caller.device is not None
    return caller.device


def unknown_code() -> Problem:
    """Refuse a code that cannot enrol a device (401)."""
    return invalid_token(
        "Send a code that is at most a day old and was not used, as 'Authorization: Bearer dl_enrol_...'."
    )
