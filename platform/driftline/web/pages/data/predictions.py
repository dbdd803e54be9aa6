"""The page of predictions: the log row by row, newest first, and what did not get into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.timerange import TimeRange
from inference.prediction_log.imports.selectors import imports_of
from inference.prediction_log.models import Label, PredictionRole, SpoolCursor
from inference.prediction_log.queries.exploring import MAX_ROWS, Explored, explore
from inference.prediction_log.queries.filters import NAMES, filter_of
from inference.prediction_log.queries.viewing import record_view
from inference.prediction_log.rows.sent_items import NUMERIC_TASKS
from inference.prediction_log.schemas import ListedPrediction
from inference.registry.models import Model, RowsKept
from inference.serving.counts.metrics import read_label_key
from inference.serving.status.status import total_counts

SHOWN = 50
FEATURES_SHOWN = 4
MAX_COUNTED_LABELS = 10_000
MAX_VERSIONS = 50
WORDS = {
    "from": "from {}",
    "to": "to {}",
    "version": "version {}",
    "role": "role {}",
    "segment": "{}",
    "labelled": "label received: {}",
    "correct": "answer is right: {}",
    "score_min": "score from {}",
    "score_max": "score to {}",
}


@dataclass(frozen=True)
class Chip:
    """A filter in words, with the address of the page without it."""

    words: str
    url: str


@dataclass(frozen=True)
class PredictionListRow:
    """A prediction of the list."""

    prediction: ListedPrediction
    score: float | None
    is_right: bool | None
    features: list[tuple[str, Any]]


@page("GET")
def predictions(request: PageRequest, name: str) -> HttpResponse:
    """Show a page of predictions that fit the filters of the address."""
    frame = frame_of(request, name, "predictions")
    model, chosen = frame["model"], frame["range"]
    given = _given(request, chosen)
    explored = Explored([], None)
    if model.rows_kept == RowsKept.ALL:
        explored = explore(
            wanted=filter_of(model, given, now=now()), cursor=request.GET.get("cursor", ""), limit=SHOWN
        )
    record_view(model=model, given=given, rows=len(explored.items), actor=request.visitor.actor)
    filters = {name: request.GET[name] for name in NAMES if request.GET.get(name)}
    by_name = [request.GET.get("feature", ""), given["segment"].partition(":")[0]]
    names = _features_shown(model, by_name, explored.items)
    frame |= {
        "explored": explored,
        "rows": [_row(model, one, names) for one in explored.items],
        "features": names,
        "given": filters,
        "chips": [_chip(name, filters) for name in filters],
        "older_url": "?" + urlencode(filters | {"cursor": explored.next}) if explored.next else "",
        "newest_url": "?" + urlencode(filters) if request.GET.get("cursor") else "",
        "export_url": _export_url(model, given),
        "most_rows": MAX_ROWS,
        "is_classed": model.task not in NUMERIC_TASKS,
        "roles": PredictionRole.choices,
        "versions": model.versions.order_by("-pk")[:MAX_VERSIONS],
        "outside": _outside(model),
        "keeps_no_rows": model.rows_kept == RowsKept.NONE,
        "rows_elsewhere": model.summary_batches.aggregate(rows=Sum("rows"))["rows"],
    }
    return render(request, "pages/data/predictions.html", frame)


def _given(request: PageRequest, chosen: TimeRange) -> dict[str, str]:
    """Read the filters of the address; a range without one begins at the newest row and has no end."""
    given = {name: request.GET.get(name, "").strip() for name in NAMES}
    if not chosen.is_default:
        given |= {"from": rfc3339(chosen.start), "to": rfc3339(chosen.end)}
    return given


def _chip(name: str, filters: dict[str, str]) -> Chip:
    rest = {other: value for other, value in filters.items() if other != name}
    value = {"true": "yes", "false": "no"}.get(filters[name], filters[name])
    return Chip(WORDS[name].format(value), "?" + urlencode(rest))


def _export_url(model: Model, given: dict[str, str]) -> str:
    kept = {name: given[name] for name in ("from", "to", "role", "version") if given[name]}
    return f"{reverse('overview')}api/v1/models/{model.name}/export" + ("?" + urlencode(kept) if kept else "")


def _features_shown(model: Model, filtered: Sequence[str], items: Sequence[ListedPrediction]) -> list[str]:
    """Choose a few columns: those asked for, then the features of segments, then the first of the newest row."""
    sent = dict.fromkeys(name for item in items for name in item["features"])
    wanted = [*filtered, *model.segment_features.order_by("pk").values_list("feature", flat=True), *sent]
    return list(dict.fromkeys(name for name in wanted if name in sent))[:FEATURES_SHOWN]


def _row(model: Model, prediction: ListedPrediction, names: Sequence[str]) -> PredictionListRow:
    probability = prediction["probability"]
    if isinstance(probability, list):
        probability = max((one for one in probability if one is not None), default=None)
    is_right = None
    if prediction["label"] is not None and model.task not in NUMERIC_TASKS:
        is_right = prediction["label"] == prediction["prediction"]
    return PredictionListRow(
        prediction, probability, is_right, [(name, prediction["features"].get(name)) for name in names]
    )


def _outside(model: Model) -> dict[str, Any]:
    """Count what did not get in: rows of imports, labels without a prediction, and what serving had to drop."""
    waiting = (
        Label.objects.filter(model=model, prediction_time=None)
        .values("given_id")[: MAX_COUNTED_LABELS + 1]
        .count()
    )
    imports = imports_of(model)
    counts = total_counts(settings.HOME)
    return {
        "imports": imports.count(),
        "newest_import": imports.order_by("-pk").first(),
        "rejected": imports.aggregate(rows=Sum("rejected"))["rows"] or 0,
        "waiting": min(waiting, MAX_COUNTED_LABELS),
        "is_more_waiting": waiting > MAX_COUNTED_LABELS,
        "unlogged": counts["unlogged_rows"],
        "torn": SpoolCursor.objects.aggregate(records=Sum("torn"))["records"] or 0,
        "shadow_drops": sum(
            count for key, count in counts["shadow_drops"].items() if read_label_key(key)[0] == model.pk
        ),
    }
