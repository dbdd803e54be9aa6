"""Refuses what needs rows of a model that keeps none."""

from driftline.base.errors import Problem
from inference.registry.models import Model, RowsKept


class RowsNotKept(Problem):
    """What is asked for needs rows, and the model keeps none."""


def refuse_without_rows(model: Model, what: str) -> None:
    """Raise RowsNotKept where the model keeps no rows by now; `what` begins a sentence, in the singular."""
    if Model.objects.filter(pk=model.pk, rows_kept=RowsKept.NONE).exists():
        detail = (
            f"{what} needs rows, and {model.name} keeps none once they are summarised (rows_kept is none)."
        )
        raise RowsNotKept(409, "rows_not_kept", detail)
