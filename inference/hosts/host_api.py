"""What serving hosts ask and say over HTTP, with the token of a host."""

from functools import lru_cache

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.security import HttpBearer

from driftline.base.accounts.access.http_auth import bearer_of, invalid_token, refuse_token_in_url
from driftline.base.accounts.models import digest_of
from driftline.base.clock import now
from driftline.base.errors import UNREADABLE, Problem, invalid, not_found
from driftline.base.http.downloads import Download, rest_of_file
from driftline.base.http.identity import note_identity
from driftline.base.http.request_values import read_body
from driftline.base.http.responses import files
from driftline.base.http.uploads import MAX_BODY_BYTES
from driftline.base.keys.edge_keys import Purpose, successions
from driftline.base.keys.key_succession import KEY_HEADER, KeySuccessions
from inference.hosts.models import ServingHost
from inference.hosts.published_plan import SIGNATURE_HEADER, PublishedPlan
from inference.hosts.statuses import HostStatus, record_status
from inference.hosts.tokens import PREFIX
from inference.registry.files.downloads import open_artifact
from inference.registry.models import Version
from inference.serving.plan import PlanUnreadable

router = Router(tags=["serving hosts"])
_plan_of = lru_cache(maxsize=2)(PublishedPlan)  # by the home


class HostAuth(HttpBearer):
    """Admits a request with the token of a host that was not revoked; it opens these routes alone."""

    def __call__(self, request: HttpRequest) -> ServingHost:
        refuse_token_in_url(request)
        host = self.authenticate(request, bearer_of(request))
        note_identity(request, f"serving host {host.name}")
        return host

    def authenticate(self, request: HttpRequest, token: str) -> ServingHost:
        host = ServingHost.objects.active().filter(token_digest=digest_of(token)).first()
        if host is None or not token.startswith(PREFIX):
            raise invalid_token("Send the token of a serving host that was not revoked.")
        return host


def _host_of(request: HttpRequest) -> ServingHost:
    host = request.auth  # type: ignore[attr-defined]
    assert isinstance(host, ServingHost)
    return host


@router.get("/serving-hosts/self/plan", auth=HostAuth(), openapi_extra=files("application/json"))
def read_host_plan(request: HttpRequest) -> HttpResponse:
    """Read the plan and the keys as signed JSON; 304 where `If-None-Match` has its ETag.

    A host that follows the succession of keys names the one that it pins in `Driftline-Signing-Key`, and gets what the
    newest key signed; any other gets what the key of its token signed, for as long as that is there.
    """
    try:
        published = _plan_of(settings.HOME).current()
    except PlanUnreadable as error:
        raise Problem(503, "plan_unreadable", "There is no plan yet; ask again.", retry_after=1) from error
    if request.headers.get("If-None-Match") == published.etag:
        return HttpResponse(status=304, headers={"ETag": published.etag})
    follows = KEY_HEADER in request.headers
    signature = published.signature if follows else published.signature_for(_host_of(request).token_key)
    headers = {"ETag": published.etag, SIGNATURE_HEADER: signature, "Cache-Control": "no-store"}
    return HttpResponse(published.content, content_type="application/json", headers=headers)


@router.get("/serving-hosts/self/key-successions", auth=HostAuth(), response=KeySuccessions)
def read_plan_key_successions(request: HttpRequest) -> KeySuccessions:
    """Read how the keys that sign plans succeeded each other, the first statement first.

    Each is signed by the key that it succeeds, so a host follows from the one that it pins.
    """
    return KeySuccessions([one.statement for one in successions(Purpose.PLANS)])


@router.get(
    "/serving-hosts/self/artifacts/{sha256}",
    auth=HostAuth(),
    openapi_extra=files("application/octet-stream"),
)
def read_host_artifact(request: HttpRequest, sha256: str) -> Download:
    """Download the file of a version that the plan names; each download is audited."""
    version = Version.objects.servable().filter(sha256=sha256).select_related("model__project").first()
    if version is None or not version.has_artifact:
        raise not_found("artifact")
    file = open_artifact(version=version, actor=f"serving host {_host_of(request).name}")
    return rest_of_file(request, file, name=f"{sha256[:12]}.onnx")


@router.post("/serving-hosts/self/status", auth=HostAuth(), response={204: None})
def receive_host_status(request: HttpRequest) -> HttpResponse:
    """Report how the host does."""
    try:
        status = msgspec.json.decode(read_body(request, cap=MAX_BODY_BYTES), type=HostStatus)
    except UNREADABLE as error:
        raise invalid("", f"This is no status of a host: {error}") from error
    record_status(host=_host_of(request), status=status, home=settings.HOME, now=now())
    return HttpResponse(status=204)
