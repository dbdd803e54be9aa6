"""A model with how it is watched, as callers and configurations write it."""

from typing import Annotated

from pydantic import Field

from inference.registry.settings import ModelSettings
from monitors.workflows.settings import WorkflowChanges


class ModelChanges(ModelSettings):
    segments: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field([], max_length=100)
    archived: bool = Field(False, description="true: it is not listed, and its rules are not judged")
    workflow: WorkflowChanges = Field(default_factory=WorkflowChanges)

    def changed_things(self) -> dict[str, str]:
        """Return what the sent fields change, by their pointers, as the table of rights calls it."""
        return {f"/{name}": f"model.{name}" for name in sorted(self.model_fields_set)}


class ChangedModel(ModelChanges):
    task: str = Field("binary", max_length=10, description="changes only while the model has no version")
    positive_class: str = Field(
        "",
        max_length=200,
        description="of the champion, where another server answers: what its probability is of",
    )


class NewModel(ModelChanges):
    name: str
    task: str

    def changed_things(self) -> dict[str, str]:
        """Leave out what a new model has anyway, and its objectives: there is no version yet that they could deploy."""
        usual = {
            name: field.get_default(call_default_factory=True)
            for name, field in NewModel.model_fields.items()
        }
        changed = super().changed_things()
        return {
            pointer: thing
            for pointer, thing in changed.items()
            if thing != "model.objectives" and getattr(self, pointer[1:]) != usual[pointer[1:]]
        }
