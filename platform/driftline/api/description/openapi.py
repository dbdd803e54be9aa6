"""The description of the API, `openapi.json`: django-ninja's, with every answer, problems included, by its type."""

from http import HTTPStatus
from types import UnionType
from typing import Any, get_args

import msgspec
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from driftline.base.http.problems import CONTENT_TYPE, ProblemOut

_FAILURES = {"4XX": "The request was refused, and why.", "5XX": "The server failed; try again later."}


class DescribedAPI(NinjaAPI):
    """An API that writes its schema once: anybody may ask for it, and it never changes while a process runs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._schemas: dict[str, OpenAPISchema] = {}

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """Return the OpenAPI document with paths that begin with `path_prefix`."""
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        if prefix not in self._schemas:
            self._schemas[prefix] = _Description(self, prefix)
        return self._schemas[prefix]

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Name an operation after its function alone: generated clients take the name, and modules may move."""
        return operation.view_func.__name__


class _Description(OpenAPISchema):
    """Ninja's document, with answers described by msgspec, which writes them (`common.responses`)."""

    def operation_details(self, operation: Operation) -> dict[str, Any]:
        """Describe an operation, and make components of what a body that its route describes by itself defines."""
        details: dict[str, Any] = super().operation_details(operation)
        for content in details.get("requestBody", {}).get("content", {}).values():
            content["schema"] = schema = dict(content["schema"])
            self.add_schema_definitions(schema.pop("$defs", {}))
        return details

    def responses(self, operation: Operation) -> dict[Any, dict[str, Any]]:
        """Describe each answer of an operation by its status, and the problems that every operation may answer."""
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
        """Describe a type or a union of types, and make components of the types that they refer to."""
        types = get_args(answer) if isinstance(answer, UnionType) else (answer,)
        schemas, components = msgspec.json.schema_components(
            types, ref_template="#/components/schemas/{name}"
        )
        self.schemas.update(components)
        return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
