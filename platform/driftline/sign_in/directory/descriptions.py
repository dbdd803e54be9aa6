"""What this service says that it can do (RFC 7643, 5 to 7)."""

from typing import Any

from driftline.sign_in.directory.documents import GROUP, MAX_MEMBERS, USER, base_url

MAX_LISTED = 200


def service_provider_config() -> dict[str, Any]:
    """Return which parts of the protocol there are."""
    absent = {"supported": False}
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_LISTED},
        "changePassword": absent,
        "sort": absent,
        "etag": absent,
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "A token of `manage.py scim_token create`",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base_url()}/ServiceProviderConfig"},
    }


def resource_types() -> list[dict[str, Any]]:
    """List the kinds of objects."""
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "endpoint": f"/{name}s",
            "schema": schema,
            "meta": {"resourceType": "ResourceType", "location": f"{base_url()}/ResourceTypes/{name}"},
        }
        for name, schema in (("User", USER), ("Group", GROUP))
    ]


def schemas() -> list[dict[str, Any]]:
    """List the attributes that are kept."""
    user = [
        _attribute("userName", required=True, uniqueness="server"),
        _attribute("name", "complex", parts=[_attribute("givenName"), _attribute("familyName")]),
        _attribute("active", "boolean", required=True),
        _attribute(
            "emails", "complex", many=True, required=True,
            description="May be left out where userName is an address; one is kept, the primary one",
            parts=[_attribute("value", required=True)],
        ),
        _attribute(
            "groups", "complex", many=True, mutability="readOnly",
            parts=[_attribute(one, mutability="readOnly") for one in ("value", "display")],
        ),
    ]  # fmt: skip
    reference = _attribute("$ref", "reference", mutability="immutable") | {"referenceTypes": ["User"]}
    group = [
        _attribute("displayName", required=True, uniqueness="server"),
        _attribute(
            "members", "complex", many=True, description=f"At most {MAX_MEMBERS:,} in a request",
            parts=[_attribute("value", mutability="immutable"), reference],
        ),
    ]  # fmt: skip
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": schema,
            "name": name,
            "description": name,
            "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": f"{base_url()}/Schemas/{schema}"},
        }
        for name, schema, attributes in (("User", USER, user), ("Group", GROUP, group))
    ]


def _attribute(
    name: str,
    kind: str = "string",
    *,
    parts: list[dict[str, Any]] | None = None,
    many: bool = False,
    required: bool = False,
    mutability: str = "readWrite",
    uniqueness: str = "none",
    description: str = "",
) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "multiValued": many,
        "description": description or name,
        "required": required,
        "caseExact": False,
        "mutability": mutability,
        "returned": "default",
        "uniqueness": uniqueness,
        **({"subAttributes": parts} if parts else {}),
    }
