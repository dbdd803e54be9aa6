"""Versions of a model: which plays which part, what the intake found, where each comes from, and its upload."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.base.errors import Problem
from driftline.base.feature import features
from driftline.base.http.downloads import Download, rest_of_file
from driftline.base.number_format import format_number
from driftline.web.pages import chart_marks, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.feature_parts import render_parts
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.versions.endpoints import empty_form, facts_of
from driftline.web.pages.models.versions.intake import Intake
from driftline.web.pages.models.versions.quarantine import CrashRecord, crash_records
from driftline.web.pages.models.versions.version_in_processes import version_in_processes
from inference.prediction_log.queries.canary_split import split_of
from inference.prediction_log.queries.selectors import oldest_event
from inference.registry.files.downloads import open_artifact
from inference.registry.lineage import Lineage
from inference.registry.models import DeploymentChange, Model, Version
from inference.registry.plan.plan_uptake import await_uptake
from inference.registry.selectors import find_model, get_version
from inference.registry.versions import upload_version
from monitors.definitions.monitors import span_of
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.catalogue import METRICS
from monitors.metrics.limits import JUDGED
from monitors.metrics.store.models import MetricPoint
from monitors.workflows.models import Run

SHOWN = 100
KIND_WORDS = {
    "first": "as the first one",
    "promote": "promoted",
    "rollback": "brought back",
    "shadows": "chosen as shadow",
    "canary": "chosen as canary",
}
STAGE_WORDS = {  # now, and with a time since when
    "champion": ("answers", "has answered"),
    "canary": ("answers a share of the requests", "has answered a share of the requests"),
    "shadow": ("gets a copy of each request", "has got a copy of each request"),
    "previous": ("answered before the champion", ""),
    "not deployed": ("is not deployed", ""),
}


@dataclass(frozen=True)
class VersionRole:
    """What a version does in the deployment, since when, and who made it so."""

    stage: str
    since: DeploymentChange | None = None
    at: datetime | None = None  # of `since`, in event time

    @property
    def words(self) -> str:
        return STAGE_WORDS[self.stage][self.since is not None]

    @property
    def how(self) -> str:
        """How it came to its part, such as `promoted by run 4`."""
        if self.since is None:
            return ""
        return f"{KIND_WORDS.get(self.since.kind, self.since.kind)} by {self.since.actor}"


class UploadForm(forms.Form):
    file = forms.FileField(label="ONNX file", help_text="One file; weights outside of it are refused.")
    metadata = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}), label="Metadata, as JSON",
        help_text='Names what the file does not say, such as {"features": [{"name": "income", "type": "float"}], '
        '"classes": ["0", "1"], "positive_class": "1"}, or that the input is an image, {"image": {"layout": "NCHW"}}. '
        "Empty: the names in the file.",
    )  # fmt: skip


@page("GET", "POST", writes="version")
def versions(request: PageRequest, name: str) -> HttpResponse:
    """List the versions, and take a new one."""
    frame = frame_of(request, name, "versions")
    model: Model = frame["model"]
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST":
        made = _add_version(request, model, form)
        if made is not None:
            return _lead_to(request, model, made)
        if request.htmx:  # type: ignore[attr-defined]
            return render(request, "partials/upload.html", frame | {"form": form}, status=422)
    known = model.versions.prefetch_related("aliases").order_by("-pk")
    listed = list(known.filter(archived_at=None)[:SHOWN])
    changes = _changes(model)
    parts = parts_of(model, listed, changes)
    crashes = crash_records()
    rows = [_row(version, parts, crashes) for version in listed]
    frame |= {
        "form": form,
        "endpoint_form": empty_form(),
        "rows": rows,
        "archived": known.exclude(archived_at=None)[:SHOWN],
        "is_moved": is_moved(changes),
        "held_back": [row["version"] for row in rows if row["crashes"] and row["crashes"].is_held_back],
        "servable": [version for version in listed if not version.is_external],
        "aliases": model.aliases.select_related("version").order_by("name"),
        "deployment": model.deployment,
        "shadows": sorted(model.deployment.shadows.values_list("version", flat=True)),
    }
    return render(request, "pages/models/versions/versions.html", frame, status=422 if form.errors else 200)


def _row(
    version: Version, parts: Mapping[int, VersionRole], crashes: Mapping[int, CrashRecord]
) -> dict[str, Any]:
    return {
        "version": version,
        "part": parts[version.pk],
        "intake": Intake.of(version),
        "crashes": crashes.get(version.pk),
    }


def _add_version(request: PageRequest, model: Model, form: UploadForm) -> Version | None:
    """Bring the form's file through the intake; None where it was refused, with the reasons in the form."""
    if not form.is_valid():
        return None
    try:
        version, is_new = upload_version(
            model=model, stream=form.cleaned_data["file"], metadata=form.cleaned_data["metadata"].encode() or None,
            lineage=Lineage(), actor=request.visitor.actor,
        )  # fmt: skip
    except Problem as problem:
        explain(form, problem)
        return None
    if not is_new:
        messages.info(request, f"These bytes with this metadata are version {version.version} already.")
        return version
    await_uptake(model=model, home=settings.HOME)
    messages.success(request, f"Version {version.version} is added. {Intake.of(version).sentence}")
    return version


def _lead_to(request: PageRequest, model: Model, version: Version) -> HttpResponse:
    url = reverse("version", args=[model.name, version.version])
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return redirect(url)


@page("GET")
def version(request: PageRequest, name: str, version: str) -> HttpResponse:
    """Show one version with its report, its lineage, what it measured and every change that it was part of."""
    frame = frame_of(request, name, "versions")
    model: Model = frame["model"]
    one = get_version(model=model, version=version)
    changes = _changes(model)
    part, oldest = parts_of(model, [one], changes)[one.pk], oldest_event(model)
    crashes = crash_records().get(one.pk)
    frame |= {
        "one": one,
        "part": part,
        "status": _status(part, crashes),
        "crashes": crashes,
        "intake": Intake.of(one),
        "signature": one.signature or {},
        "origin": origin_of(one),
        "aliases": sorted(one.aliases.values_list("name", flat=True)),
        "run": Run.objects.filter(model=model, challenger=one).order_by("-pk").first(),
        "parts_of_features": _parts_of_features(request, one) if one.has_artifact else [],
        "endpoint": facts_of(one) if one.is_remote else [],
        "in_processes": version_in_processes(one, settings.HOME),
        "measured": newest_points(model, one),
        "changes": [
            (chart_marks.time_of(change, oldest), change) for change in changes if _concerns(change, one.version)
        ][::-1],
        "is_moved": is_moved(changes),
        "deployment": model.deployment,
        "split": split_of(model.deployment) if part.stage == "canary" else None,
    }  # fmt: skip
    return render(request, "pages/models/versions/version.html", frame)


def _parts_of_features(request: PageRequest, version: Version) -> list[str]:
    parts = (feature.version_part for feature in features())
    return render_parts(request, parts, version, {"model": version.model, "one": version})


def _status(part: VersionRole, crashes: CrashRecord | None) -> str:
    if crashes is not None and crashes.is_held_back:
        return "critical"
    return {"champion": "ok", "shadow": "notice", "canary": "notice"}.get(part.stage, "no_data")


@page("GET")
def artifact(request: PageRequest, name: str, version: str) -> Download:
    """Return the version's ONNX to those who may deploy the model; each download is audited."""
    model = find_model(project=request.visitor.project, name=name)
    one = get_version(model=model, version=version)
    if not request.visitor.may("version.artifact"):
        raise PermissionDenied
    file = open_artifact(version=one, actor=request.visitor.actor)
    return rest_of_file(request, file, name=f"{model.name}-{one.version}.onnx")


# -- parts -------------------------------------------------------------------------------------------------------------
def parts_of(
    model: Model, versions: Iterable[Version], changes: Sequence[DeploymentChange]
) -> dict[int, VersionRole]:
    """Return the part of each of these versions, with the change of all `changes` that gave it."""
    oldest = oldest_event(model)
    parts = {}
    for row in chart_marks.versions_with_stage(model, versions):
        began = _began(changes, row["version"].version, row["stage"])
        at = chart_marks.time_of(began, oldest) if began else None
        parts[row["version"].pk] = VersionRole(row["stage"], began, at)
    return parts


def is_moved(changes: Iterable[DeploymentChange]) -> bool:
    """Return whether a change lies elsewhere in event time than on this machine's clock, as in history sent later."""
    return any(abs(change.at - change.event_time) > queries.DAY for change in changes)


def _changes(model: Model) -> list[DeploymentChange]:
    return list(DeploymentChange.objects.filter(model=model).order_by("generation"))


def _began(changes: Sequence[DeploymentChange], version: str, stage: str) -> DeploymentChange | None:
    """Find the change since which a version plays its part without a break."""
    began = None
    for change in reversed(changes):
        if stage not in stages_in(change.after, version):
            break
        began = change
    return began


def stages_in(state: Mapping[str, Any], version: str) -> set[str]:
    """Return the parts that a version has in one state of the deployment, as the audit rows keep it."""
    stages = set()
    if state.get("champion") == version:
        stages.add("champion")
    if version in (state.get("shadows") or []):
        stages.add("shadow")
    if (state.get("canary") or {}).get("version") == version:
        stages.add("canary")
    return stages


def _concerns(change: DeploymentChange, version: str) -> bool:
    return stages_in(change.before, version) != stages_in(change.after, version)


# -- where it comes from, and what it showed ---------------------------------------------------------------------------
@dataclass(frozen=True)
class VersionOrigin:
    """Where a version comes from, as its lineage tells it; times are read, empty facts left out."""

    facts: list[tuple[str, Any]]
    parent: str
    dataset: int | None

    @property
    def is_known(self) -> bool:
        return bool(self.facts or self.parent)


def origin_of(version: Version) -> VersionOrigin:
    """Read a version's lineage in the order in which people ask for it: data, trainer, reason, libraries."""
    known_lineage = version.lineage
    data = known_lineage.get("data") or {}
    parameters, libraries, parity = (
        known_lineage.get(key) or {} for key in ("parameters", "libraries", "parity")
    )
    facts = [
        ("Learnt from", _window(data)),
        ("Rows", data.get("training_rows")),
        ("Data's SHA-256", data.get("sha256")),
        ("Trainer", known_lineage.get("trainer")),
        ("Parameters", _listed(parameters)),
        ("Seed", known_lineage.get("seed")),
        ("Because of", known_lineage.get("trigger")),
        ("Libraries", _listed(libraries)),
        ("Parity", _listed(parity)),
    ]
    known = [(name, value) for name, value in facts if value not in (None, "")]
    return VersionOrigin(known, str(known_lineage.get("parent") or ""), data.get("dataset"))


def _window(data: Mapping[str, Any]) -> str:
    """Write the period that the data covers."""
    ends = [_day(data.get(name)) for name in ("start", "end")]
    return f"{ends[0] or 'the beginning'} to {ends[1] or 'unknown'}" if any(ends) else ""


def _day(text: Any) -> str:
    if not text:
        return ""
    try:
        return f"{datetime.fromisoformat(str(text)):%-d %b %Y}"
    except ValueError:
        return str(text)


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {format_number(value)}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
        if not isinstance(value, dict | list)
    )


@dataclass(frozen=True)
class MeasuredMetric:
    """The newest judged window of one metric, in each role that the version had."""

    metric: str
    champion: MetricPoint | None
    shadow: MetricPoint | None


def newest_points(model: Model, version: Version) -> list[MeasuredMetric]:
    """The newest judged window of each metric that this version itself has, the model's main metric first.

    Performance is of the windows that its monitor judges, what serving measured of days.
    """
    main = main_metric(model)
    wanted = dict.fromkeys([main, "log_loss", "accuracy", "mae", "latency_p50", "latency_p99", "error_rate"])
    of_span = Q()
    for metric in wanted:
        of_span |= Q(metric=metric, span=span_of(model, METRICS[metric].kind))
    points = MetricPoint.objects.filter(
        of_span, model=model, version=version.version, segment="", feature="",
        status__in=JUDGED, value__isnull=False,
    ).order_by("metric", "role", "-start").distinct("metric", "role")  # fmt: skip
    newest = {(point.metric, point.role): point for point in points}
    rows = [
        MeasuredMetric(metric, newest.get((metric, "champion")), newest.get((metric, "shadow")))
        for metric in wanted
    ]
    return [row for row in rows if row.champion or row.shadow]
