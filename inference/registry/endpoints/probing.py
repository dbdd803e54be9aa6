"""A version's server asked again, for what came later than the version."""

from typing import Any

import msgspec
from django.conf import settings

from driftline.base.outbound.targets import outbound_rules
from inference.registry.endpoints.probe import Asked, probe
from inference.registry.endpoints.stored import endpoint_of
from inference.registry.intake.limits import SampledReference
from inference.registry.intake.metadata import declare
from inference.registry.models import Version
from inference.registry.selectors import signature_of


def probe_again(version: Version, reference: SampledReference | None) -> dict[str, Any]:
    """Ask a version's server again, for rows of a newer reference; give the report. Raises IntakeRefused."""
    signature = signature_of(version)
    asked = Asked(
        endpoint=endpoint_of(version),
        inputs=signature.inputs,
        outputs=signature.outputs,
        metadata=declare(signature),
        task=signature.task,
        known=None,
        home=settings.HOME,
        rules=outbound_rules(),
    )
    _, report = probe(asked, reference)
    described: dict[str, Any] = msgspec.to_builtins(report)
    return described
