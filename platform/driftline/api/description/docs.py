"""The API's documentation as a page of this server: no script, nothing from elsewhere."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase

_METHODS = ("get", "post", "put", "patch", "delete")


class ServerRenderedDocs(DocsBase):
    """Lists every operation with its parameters and body, written from the OpenAPI schema."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        schema = api.get_openapi_schema()
        groups: dict[str, list[dict[str, Any]]] = {}
        for path, methods in schema["paths"].items():
            for method in _METHODS:
                if method in methods:
                    tag = (methods[method].get("tags") or ["other"])[0]
                    groups.setdefault(tag, []).append(_operation(path, method, methods[method], schema))
        return render(
            request, "api/docs.html", {"groups": groups, "openapi_url": self.get_openapi_url(api, {})}
        )


def _operation(path: str, method: str, operation: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    security = operation.get("security") or []
    return {
        "method": method.upper(),
        "path": path,
        "id": operation["operationId"],
        "description": operation.get("description", ""),
        "scope": next((scope for entry in security for scopes in entry.values() for scope in scopes), ""),
        "parameters": [
            {
                "name": parameter["name"],
                "place": parameter["in"],
                "is_required": parameter.get("required", False),
                "type": _type(parameter["schema"]),
            }
            for parameter in operation.get("parameters", ())
        ],
        "bodies": [
            {"kind": kind, "fields": _fields(content["schema"], schema)}
            for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        ],
    }


def _fields(body: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """List the fields of a body, which may be a reference into the schema's components, or one of several."""
    for choice in body.get("anyOf", ()):
        if "$ref" in choice:
            body = choice
    if "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rsplit("/", 1)[1]]
    required = body.get("required", ())
    return [
        {
            "name": name,
            "type": _type(field),
            "is_required": name in required,
            "description": field.get("description", ""),
        }
        for name, field in body.get("properties", {}).items()
    ]


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(choice) for choice in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")
