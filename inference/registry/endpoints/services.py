"""Writes: a version that another server answers, tried before it is kept."""

import msgspec
from django.conf import settings

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from driftline.base.keys.key_files import read_keys
from driftline.base.outbound.targets import outbound_rules
from inference.registry.endpoints.probe import Asked, EndpointReport, probe
from inference.registry.endpoints.schemas import RemoteVersionIn, headers_of, plan_of, specs_of
from inference.registry.endpoints.stored import columns_of
from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.metadata import parse_metadata
from inference.registry.lineage import read_lineage
from inference.registry.models import Model, Version
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.selectors import signature_of
from inference.registry.validation import read_reference
from inference.registry.versions import Contents, check_version_name, register
from inference.runtime.remote.credentials import KEY_FILE, seal_headers
from inference.signatures import EndpointSpec, Signature


def register_endpoint(*, model: Model, body: RemoteVersionIn, actor: str) -> tuple[Version, bool]:
    """Keep an endpoint as a version once the other server has answered some rows; the first one becomes champion.

    Returns the version and whether it is new: the same endpoint and signature again give the version that has them,
    with the credential that was sent last. Raises Problem: `url_not_allowed` and the refusals of the probe (422),
    `version_exists` (409) where another version has the name.
    """
    check_version_name(body.version)
    endpoint = plan_of(body.endpoint)
    headers = headers_of(body.endpoint)
    if headers:
        sealed = seal_headers(headers, read_keys(settings.HOME / KEY_FILE)[0])
        endpoint = msgspec.structs.replace(endpoint, credential=sealed)
    lineage = read_lineage(body.lineage, model=model)
    endpoint, report = _try(model, body, endpoint)
    version, is_new = register(
        model=model,
        name=body.version,
        contents=Contents(
            identity={
                "endpoint": columns_of(endpoint),
                "signature": msgspec.to_builtins(report.signature),
            },
            details={
                "intake_report": msgspec.to_builtins(report),
                "credential": endpoint.credential.encode(),
            },
            audited={"endpoint": endpoint.url, "protocol": endpoint.protocol, "model": endpoint.model},
        ),
        lineage=lineage,
        actor=actor,
    )
    if not is_new:
        _replace_credential(version, endpoint.credential, actor)
    return version, is_new


def _try(model: Model, body: RemoteVersionIn, endpoint: EndpointSpec) -> tuple[EndpointSpec, EndpointReport]:
    try:
        asked = Asked(
            endpoint=endpoint,
            inputs=specs_of(body.endpoint.inputs),
            outputs=specs_of(body.endpoint.outputs),
            metadata=parse_metadata(msgspec.json.encode(body.metadata)),
            task=model.task,
            known=_signature_of_champion(model),
            home=settings.HOME,
            rules=outbound_rules(),
        )
        return probe(asked, read_reference(model))
    except IntakeRefused as refusal:
        raise _problem(refusal) from refusal


def _problem(refusal: IntakeRefused) -> Problem:
    """Point into the body: what the metadata's own checks find lies below /metadata."""
    pointer = refusal.pointer or "/endpoint"
    if not pointer.startswith(("/endpoint", "/metadata")):
        pointer = f"/metadata{pointer}"
    faults = invalid(pointer, refusal.detail, refusal.code).errors
    return Problem(refusal.status, refusal.code, refusal.detail, faults)


def _signature_of_champion(model: Model) -> Signature | None:
    champion = model.deployment.champion
    return signature_of(champion) if champion is not None and champion.signature else None


def _replace_credential(version: Version, credential: str, actor: str) -> None:
    version.credential = credential.encode()
    version.save(update_fields=["credential"])
    record_audit(
        project=version.model.project, actor=actor, action="version.credential", subject=str(version)
    )
    publish_on_commit(version.model)
