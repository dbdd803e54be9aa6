"""The schemas of settings, beside the columns that they are stored in."""

from typing import Any

import pytest
from django.db import models
from django.db.models.expressions import DatabaseDefault
from pydantic import BaseModel

from inference.registry.models import Model
from inference.registry.settings import ModelSettings
from monitors.workflows.models import Workflow
from monitors.workflows.settings import WorkflowSettings

PARTS = ("gate", "rollout", "objectives")
"""Objects, of which what is not given is filled in where they are read."""


@pytest.mark.parametrize(("schema", "table"), [(ModelSettings, Model), (WorkflowSettings, Workflow)])
def test_what_is_not_given_is_what_the_schema_says(
    schema: type[BaseModel], table: type[models.Model]
) -> None:
    said = {name: setting.get_default() for name, setting in schema.model_fields.items() if name not in PARTS}

    assert {name: _default_of(table, name) for name in said} == said


def _default_of(table: type[models.Model], column: str) -> Any:
    default = table._meta.get_field(column).get_default()  # type: ignore[union-attr]
    return default.expression.value if isinstance(default, DatabaseDefault) else default
