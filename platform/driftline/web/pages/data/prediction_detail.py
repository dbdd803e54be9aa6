"""One prediction: what came in, what each version answered, and what really happened."""

from django.http import HttpResponse
from django.shortcuts import render

from driftline.base.errors import not_found
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from inference.prediction_log.queries import selectors
from inference.prediction_log.queries.viewing import record_view_of_one
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.schemas import LabelRevision, LoggedPrediction


@page("GET")
def prediction(request: PageRequest, name: str, prediction_id: str) -> HttpResponse:
    """Look a prediction up by its id; leaves an audit row."""
    frame = frame_of(request, name, "predictions")
    refuse_without_rows(frame["model"], "A look at a prediction")
    logged = selectors.prediction(model=frame["model"], prediction_id=prediction_id)
    if logged is None:
        raise not_found("prediction")
    record_view_of_one(model=frame["model"], prediction_id=prediction_id, actor=request.visitor.actor)
    current = next((label for label in logged["labels"] if label["is_current"]), None)
    frame |= {
        "one": logged,
        "answers": [logged, *logged["shadows"]],
        "label": current,
        "summary": _sentence(logged, current),
    }
    return render(request, "pages/data/prediction.html", frame)


def _sentence(logged: LoggedPrediction, label: LabelRevision | None) -> str:
    """Return what was answered, whether the shadows agree, and what happened."""
    text = f"Version {logged['version']} answered {logged['prediction']}"
    others = [f"version {one['version']} {one['prediction']}" for one in logged["shadows"]]
    text += f"; in the shadow answered {', '.join(others)}" if others else ""
    if label is None:
        return f"{text}. It has no label yet."
    return f"{text}. Actual: {label['value']}."
