"""What the API answers about configurations."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from driftline.operations.configuration.planning import Action, ItemChange


class FieldChangeOut(ResponseBody, frozen=True):
    """A field with what it is and what it becomes; targets of channels are masked."""

    name: str
    before: Any
    after: Any


class ChangeOut(ResponseBody, frozen=True):
    """One item of a configuration that is made, changed or deleted; `model` is null for what is of the project."""

    action: Annotated[str, one_of(Action)]
    kind: str
    model: str | None
    name: str
    fields: list[FieldChangeOut]

    @classmethod
    def of(cls, change: ItemChange) -> Self:
        return cls(
            action=change.action,
            kind=change.item.kind,
            model=change.item.model or None,
            name=change.item.name or change.item.model,
            fields=[
                FieldChangeOut(name=name, before=before, after=after) for name, before, after in change.fields
            ],
        )


class PlanOut(ResponseBody, frozen=True):
    """What applying a document would do; nothing where what there is is as it says."""

    changes: list[ChangeOut]


class AppliedOut(PlanOut, frozen=True, kw_only=True):
    """What applying a document did, and when."""

    applied_at: Time


class DifferencesOut(PlanOut, frozen=True, kw_only=True):
    """What applying the last document again would do; the times are null where none was applied."""

    applied_at: Time | None
    applied_by: str | None
