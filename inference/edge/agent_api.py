"""What agents ask and send over HTTP, with the token of their device."""

import hashlib

import msgspec
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Header
from ninja.responses import Status
from pydantic import Field

from driftline.base.clock import now
from driftline.base.errors import not_found
from driftline.base.http.bodies import Body
from driftline.base.http.downloads import Download, rest_of_file
from driftline.base.http.request_values import media_type, read_body
from driftline.base.http.responses import files, write_json
from driftline.base.http.uploads import MAX_BODY_BYTES
from driftline.base.keys.edge_keys import Purpose, successions
from driftline.base.keys.key_succession import KeySuccessions
from inference.edge import reports
from inference.edge.credentials import DeviceToken, EnrolmentCode, device_of, unknown_code
from inference.edge.enrolment import enrol
from inference.edge.manifests import manifest_of, sign
from inference.edge.pinned_keys import device_key
from inference.edge.releases import assigned_release
from inference.edge.schemas import AssignmentOut, EnrolmentOut, StatusReceivedOut
from inference.prediction_log.api import JSON_TYPES, body_schema, row_budget
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.schemas import BatchOut
from inference.registry.files.downloads import open_artifact

router = Router(tags=["devices"])

MAX_COUNT = 2**63 - 1
MIN_KEY_LENGTH = 32  # letters: with a code that was used, whoever guesses the key has the token


class AgentFacts(Body):
    agent: str = Field("", max_length=60, description="the agent's version")
    machine: str = Field("", max_length=60, description="its system and processor")


class DeviceStatus(Body):
    """How a device does."""

    release: int | None = Field(None, ge=1, le=MAX_COUNT, description="the release that the manifest named")
    version: str = Field("", max_length=64, description="the version that answers")
    failure: str = Field("", max_length=300, description="why it does not answer with that release")
    runs_on: str = Field("", max_length=200, description="which processor or provider runs it, and why")
    skew_ms: int | None = Field(None, ge=-MAX_COUNT, le=MAX_COUNT)
    unsent_rows: int = Field(0, ge=0, le=MAX_COUNT)
    dropped_rows: int = Field(0, ge=0, le=MAX_COUNT)


@router.post("/devices/enrol", auth=EnrolmentCode(), response={201: EnrolmentOut})
def enrol_device(
    request: HttpRequest,
    body: AgentFacts | None = None,
    key: str = Header("", alias="Idempotency-Key", min_length=MIN_KEY_LENGTH, max_length=255),
) -> Status[EnrolmentOut]:
    """Change the code of a device, sent as a bearer token, for its token; it works once.

    An agent that keeps a secret, random `Idempotency-Key` may send both again, and gets the same token.
    """
    agent, machine = (body.agent, body.machine) if body else ("", "")
    code = request.auth  # type: ignore[attr-defined]
    enrolled = enrol(code=code, agent=agent, machine=machine, now=now(), key=key)
    if enrolled is None:
        raise unknown_code()
    device, token = enrolled
    enrolment = EnrolmentOut(
        device=device.name,
        group=device.group.name,
        token=token,
        public_key=device.pinned_key,
        next_sequence=device.next_sequence,
    )
    return Status(201, enrolment)


@router.get(
    "/devices/self/assignment",
    auth=DeviceToken(),
    response={200: AssignmentOut, 204: None, 304: None},
)
def read_assignment(request: HttpRequest) -> HttpResponse:
    """Read what the device should answer with, as a signed manifest; 304 where `If-None-Match` has its ETag.

    Answers 204 while no release has come to the device. An agent that follows the succession of keys names the one that
    it pins in `Driftline-Signing-Key`.
    """
    device = device_of(request)
    signer = device_key(request, device).signer()
    reports.note_seen(device, now=now())
    device.group.refresh_from_db(fields=["generation"])  # it may have grown just now
    release = assigned_release(device)
    if release is None:
        return HttpResponse(status=204)
    manifest = manifest_of(device, release, now=now())
    signature = sign(manifest, signer)
    etag = f'"{hashlib.sha256((manifest + signature).encode()).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers={"ETag": etag})
    body = write_json(AssignmentOut(manifest=manifest, signature=signature))
    return HttpResponse(body, content_type="application/json", headers={"ETag": etag})


@router.get("/devices/self/key-successions", auth=DeviceToken(), response=KeySuccessions)
def read_key_successions(request: HttpRequest) -> KeySuccessions:
    """Read how the keys that sign manifests succeeded each other, the first statement first.

    Each is signed by the key that it succeeds, so an agent follows from the one that it pins.
    """
    return KeySuccessions([one.statement for one in successions(Purpose.MANIFESTS)])


@router.get(
    "/devices/self/artifacts/{sha256}", auth=DeviceToken(), openapi_extra=files("application/octet-stream")
)
def read_assigned_artifact(request: HttpRequest, sha256: str) -> Download:
    """Download the file that the manifest names, from a byte on with a `Range` such as `bytes=1000-`, which is answered
    with 206; each download is audited."""
    device = device_of(request)
    release = assigned_release(device)
    if release is None or release.version.sha256 != sha256:
        raise not_found("artifact")
    file = open_artifact(version=release.version, actor=f"device {device.name}")
    return rest_of_file(request, file, name=f"{sha256[:12]}.onnx")


@router.post("/devices/self/status", auth=DeviceToken(), response=StatusReceivedOut)
def receive_status(request: HttpRequest, body: DeviceStatus) -> StatusReceivedOut:
    """Report which version answers on the device, why not the one that was assigned, and how many rows wait."""
    device = device_of(request)
    key_failure = device_key(request, device).failure()
    reports.record_status(device=device, key_failure=key_failure, now=now(), **body.model_dump())
    return StatusReceivedOut(next_sequence=device.next_sequence)


@router.post(
    "/devices/self/rows",
    auth=DeviceToken(),
    openapi_extra=body_schema("predictions", SentPrediction, lines=()),
    response=BatchOut,
)
def receive_rows(request: HttpRequest) -> HttpResponse:
    """Log what the device predicted: a body as of `POST /models/{name}/predictions`, with `device-sequence` as ids.

    The answer says what became of each row and comes after the commit, so that the agent can delete it. Sending a row
    again is harmless.
    """
    device = device_of(request)
    row_budget.check(device.project)
    media_type(request, JSON_TYPES)
    result = reports.store_rows(device=device, body=read_body(request, cap=MAX_BODY_BYTES), now=now())
    row_budget.charge(device.project, len(result.results))
    return HttpResponse(msgspec.json.encode(BatchOut.of(result, [])), content_type="application/json")
