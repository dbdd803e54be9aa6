"""The description of the API, `openapi.json`: of ninja's, with every answer as its type says, problems included."""

from http import HTTPStatus
from types import UnionType
from typing import Any, get_args

import msgspec
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from driftline.api.problems import CONTENT_TYPE, ProblemOut

_FAILURES = {"4XX": "The request was refused, and why.", "5XX": "The server failed; try again later."}


class DescribedAPI(NinjaAPI):
    """Describes itself once: anybody may ask for the schema, and what it says never changes while we run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._schemas: dict[str, OpenAPISchema] = {}

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        if prefix not in self._schemas:
            self._schemas[prefix] = _Description(self, prefix)
        return self._schemas[prefix]

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Name an operation after its function; generated clients name theirs so, wherever the function lies."""
        return operation.view_func.__name__


class _Description(OpenAPISchema):
    """Ninja's description with answers that are described by msgspec, as `common.responses` has them."""

    def operation_details(self, operation: Operation) -> dict[str, Any]:
        """Describe an operation; the definitions of a body that a route describes by itself become components."""
        details: dict[str, Any] = super().operation_details(operation)
        for content in details.get("requestBody", {}).get("content", {}).values():
            content["schema"] = schema = dict(content["schema"])
            self.add_schema_definitions(schema.pop("$defs", {}))
        return details

    def responses(self, operation: Operation) -> dict[Any, dict[str, Any]]:
        described: dict[Any, dict[str, Any]] = {}
        for status, model in operation.response_models.items():
            described[status] = {"description": HTTPStatus(status).phrase}
            if hasattr(model, "model_fields"):  # neither an answer without a body nor a file
                schema = self._schema_of(model.model_fields["response"].annotation)
                described[status]["content"] = {"application/json": {"schema": schema}}
        problem = {CONTENT_TYPE: {"schema": self._schema_of(ProblemOut)}}
        return described | {
            statuses: {"description": text, "content": problem} for statuses, text in _FAILURES.items()
        }

    def _schema_of(self, answer: Any) -> dict[str, Any]:
        """Describe a type or a union of types; what they refer to becomes components."""
        types = get_args(answer) if isinstance(answer, UnionType) else (answer,)
        schemas, components = msgspec.json.schema_components(
            types, ref_template="#/components/schemas/{name}"
        )
        self.schemas.update(components)
        return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
