"""Settings of an object as one schema: how they are checked, and how the API answers with them.

The schema stands in the stage that has the object, such as `inference/registry/settings.py`. Beside its type a setting
has a title and a description, its bounds, and the scope that a change of it needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from django.db import models
from msgspec import defstruct
from ninja.errors import ValidationError
from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic import ValidationError as PydanticError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from driftline.base.errors import FieldFault, Problem
from driftline.base.http.problems import problem_of_fields
from driftline.base.http.responses import ResponseBody, one_of


@dataclass(frozen=True)
class OneOf:
    """Annotates a text that is one of some choices."""

    choices: type[models.TextChoices]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse what is none of them, and list them in the schema."""
        return core_schema.literal_schema([str(value) for value in self.choices.values])


def choices_of(setting: FieldInfo) -> type[models.TextChoices] | None:
    """Return what a setting is one of; None where it is something else."""
    return next((mark.choices for mark in setting.metadata if isinstance(mark, OneOf)), None)


def check_settings(schema: type[BaseModel], given: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return settings as they are stored, those alone that are given.

    Raises Problem (422), of which the pointers begin with `within`.
    """
    try:
        return schema.model_validate(dict(given)).model_dump(exclude_unset=True)
    except PydanticError as error:
        faults: list[Any] = error.errors()
    except ValidationError as error:
        faults = error.errors
    problem = problem_of_fields({**fault, "loc": ("body", "settings", *fault["loc"])} for fault in faults)
    errors = [FieldFault(within + fault.pointer, fault.code, fault.detail) for fault in problem.errors]
    raise Problem(problem.status, problem.code, problem.detail, errors)


def stored_settings(schema: type[BaseModel], row: models.Model) -> dict[str, Any]:
    """Return the settings that a row has, by their names."""
    return {name: getattr(row, name) for name in schema.model_fields}


def with_settings[Answer: ResponseBody](
    schema: type[BaseModel],
) -> Callable[[type[Answer]], type[Answer]]:
    """Add every setting of a schema to an answer, but those that it writes in a way of its own."""

    def extend(answer: type[Answer]) -> type[Answer]:
        own = answer.__struct_fields__
        fields = [(name, _answered(one)) for name, one in schema.model_fields.items() if name not in own]
        namespace = {"__doc__": answer.__doc__}
        return defstruct(
            answer.__name__,
            fields,
            bases=(answer,),
            namespace=namespace,
            module=answer.__module__,
            frozen=True,
        )  # type: ignore[return-value]

    return extend


def _answered(setting: FieldInfo) -> Any:
    """Return the type of a setting in an answer, which has what is stored, and is not validated."""
    choices = choices_of(setting)
    return Annotated[str, one_of(choices.values)] if choices else _plain(setting.annotation)


def _plain(kind: Any) -> Any:
    """Return a type without bounds; what has fields of its own is an object of any."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _plain(inner[0])
    if origin is Literal:
        return str
    if origin in (Union, UnionType):
        return Union[tuple(_plain(one) for one in inner)]  # noqa: UP007
    if origin in (list, dict):
        return origin[tuple(_plain(one) for one in inner)]
    return dict[str, Any] if isinstance(kind, type) and issubclass(kind, BaseModel) else kind
