"""Who looked at raw predictions: each view leaves an audit row."""

from collections.abc import Mapping

from driftline.base.accounts.services import record_audit
from inference.prediction_log.queries.filters import NAMES
from inference.registry.models import Model


def record_view_of_one(*, model: Model, prediction_id: str, actor: str) -> None:
    """Note that somebody looked at one prediction."""
    record_audit(
        project=model.project,
        actor=actor,
        action="predictions.view",
        subject=model.name,
        after={"id": prediction_id},
    )


def record_view(*, model: Model, given: Mapping[str, str], rows: int, actor: str) -> None:
    """Note that somebody was shown `rows` predictions that fit the parameters `given`; none shown leaves no trace."""
    if not rows:
        return
    filters = {name: given[name][:200] for name in NAMES if given.get(name)}
    record_audit(
        project=model.project,
        actor=actor,
        action="predictions.view",
        subject=model.name,
        after={"filters": filters, "rows": rows},
    )
