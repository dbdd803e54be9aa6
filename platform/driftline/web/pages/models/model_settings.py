"""A model's settings: what it is, what it owes, and which of its rows and features are kept."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.feature import features
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import model_item
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.feature_parts import render_parts
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.settings_parts import (
    AboutForm,
    KeepingForm,
    ObjectivesForm,
    SettingsPart,
    store_parts,
)
from inference.registry.models import Model
from inference.registry.services import update_model

MAX_DATASETS = 50
PARTS = {
    "about": AboutForm,
    "objectives": ObjectivesForm,
    "keeping": KeepingForm,
}


@page("GET", "POST", writes="model")
def model_settings(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "model_settings")
    model, sent = frame["model"], request.POST if request.method == "POST" else None
    datasets = model.datasets.select_related("version").order_by("-pk")
    frame["datasets"] = datasets.filter(archived_at=None)[:MAX_DATASETS]
    frame["archived_datasets"] = datasets.exclude(archived_at=None)[:MAX_DATASETS]
    parts: dict[str, Any] = {key: part(model, request.visitor, sent) for key, part in PARTS.items()}
    if store_parts(parts, request.visitor, partial(_save, model, parts, request.visitor.actor)):
        messages.success(request, "The settings are saved; serving applies them within a second.")
        return redirect("model_settings", name=model.name)
    frame |= parts | {
        "parts": list(parts.values()),
        "managed": managed(model.project, model_item(model.name)),
    }
    frame |= _facts(model)
    parts_of_retention = (feature.retention_part for feature in features())
    frame["retention_parts"] = render_parts(request, parts_of_retention, model, {})
    is_wrong = any(part.errors for part in parts.values())
    return render(request, "pages/models/model_settings.html", frame, status=422 if is_wrong else 200)


def _save(model: Model, parts: dict[str, Any], actor: str) -> None:
    """Store what was changed, all of it or nothing."""
    all_parts: list[SettingsPart] = list(parts.values())
    changes = {name: value for part in all_parts for name, value in part.changes().items()}
    if changes:
        update_model(model=model, actor=actor, **changes)


def _facts(model: Model) -> dict[str, Any]:
    """Return what the page says and does not change."""
    return {
        "segment_features": sorted(model.segment_features.values_list("feature", flat=True)),
        "segment_names": sorted(model.segments.values_list("name", flat=True)),
        "custom_metrics": sorted(model.custom_metrics.values_list("name", flat=True)),
    }
