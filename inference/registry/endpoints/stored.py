"""An endpoint as a version's row keeps it: what may be shown in one column, the sealed credential in another."""

from typing import Any

import msgspec

from inference.registry.models import Version
from inference.signatures import EndpointSpec


def endpoint_of(version: Version) -> EndpointSpec:
    """Read the endpoint of a remote version with its credential, which stays sealed."""
    return msgspec.convert(
        {**(version.endpoint or {}), "credential": bytes(version.credential).decode()}, EndpointSpec
    )


def columns_of(endpoint: EndpointSpec) -> dict[str, Any]:
    """Return what may be shown of an endpoint, fit for the column `endpoint`."""
    shown: dict[str, Any] = msgspec.to_builtins(endpoint)
    del shown["credential"]
    return shown
