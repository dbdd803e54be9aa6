"""Fields of forms, as the schema of an object's settings has them."""

from types import UnionType
from typing import Any, Union, get_args, get_origin

from django import forms
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from driftline.base.http.settings_schema import choices_of


def form_fields(schema: type[BaseModel]) -> dict[str, forms.Field]:
    """Make a field for each setting that is one value; a form declares its own for those that are lists."""
    made = {name: _field_of(setting) for name, setting in schema.model_fields.items()}
    return {name: field for name, field in made.items() if field is not None}


def form_field(schema: type[BaseModel], name: str) -> forms.Field:
    """Make the field of one setting, which may not be left empty."""
    field = _field_of(schema.model_fields[name])
    assert field is not None, f"{name} is a list"
    field.required = True
    return field


def _field_of(setting: FieldInfo) -> forms.Field | None:
    words: dict[str, Any] = {
        "required": False,
        "label": setting.title,
        "help_text": setting.description or "",
    }
    if (choices := choices_of(setting)) is not None:
        return forms.ChoiceField(choices=choices.choices, **words)
    bounds = {"min_value": _bound(setting, "ge"), "max_value": _bound(setting, "le")}
    kind = _without_none(setting.annotation)
    if kind is bool:
        return forms.BooleanField(**words)
    if kind is int:
        return forms.IntegerField(**bounds, **words)
    if kind is float:
        return forms.FloatField(**bounds, **words)
    return forms.CharField(max_length=_bound(setting, "max_length"), **words) if kind is str else None


def _without_none(kind: Any) -> Any:
    """Return the type of a setting that may be left empty."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return next(one for one in get_args(kind) if one is not type(None))


def _bound(setting: FieldInfo, name: str) -> Any:
    return next((getattr(mark, name) for mark in setting.metadata if hasattr(mark, name)), None)
