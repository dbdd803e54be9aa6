"""The sentence at the top of a page: what is wrong, since when, and why, from stored rows alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from driftline.pages import queries
from inference.prediction_log.selectors import newest_event
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.alerts.wording import figure, figures, measured
from monitors.metrics.catalogue import METRICS
from monitors.metrics.models import MetricPoint
from monitors.workflows.models import Run

CAUSES_TOLD = 2


@dataclass(frozen=True)
class Part:
    """A piece of the sentence; with a URL it is a link."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Verdict:
    """How something is: a status and the sentence that says so."""

    status: str
    parts: Sequence[Part] = field(default_factory=list)

    def html(self) -> SafeString:
        return format_html_join("", "{}", ((_piece(part),) for part in self.parts))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


def _piece(part: Part) -> SafeString:
    if part.url:
        return format_html('<a href="{}">{}</a>', part.url, part.text)
    return format_html("{}", part.text)


def of_model(model: Model) -> Verdict:
    """Say how a model is: its worst open incident and likely cause, or that nothing is wrong."""
    newest = newest_event(model)
    if newest is None:
        return Verdict(
            "no_data",
            [Part(f"{model.name} has no predictions yet. "), Part("Send the first one.", reverse("start"))],
        )
    incidents = queries.unresolved(model)
    run = queries.active_run(model)
    if not incidents:
        return Verdict("ok", [*_all_right(model, newest), *_under_way(run)])
    worst = incidents[0]
    status = (
        "critical" if worst.severity == "critical" else "warning" if worst.severity == "warning" else "notice"
    )
    parts = [*_complaint(worst), *_causes(worst)]
    if len(incidents) > 1:
        more = f"{len(incidents) - 1} more incident{'s are' if len(incidents) > 2 else ' is'} open."
        parts += [Part(" "), Part(more, f"{reverse('incidents')}?model={model.name}")]
    return Verdict(status, [*parts, *_under_way(run)])


def _named(model: Model) -> str:
    champion = model.deployment.champion
    return f"{model.name} v{champion.version}" if champion else model.name


def _complaint(incident: Incident) -> list[Part]:
    transition = (
        incident.rule.transitions.exclude(kind="resolved").order_by("-pk").first() or incident.opened_by
    )
    value, threshold = figures(transition.value, transition.threshold)
    how = {"critical": "is in trouble", "warning": "is degraded", "notice": "has changed"}[incident.severity]
    since = queries.began(incident)
    return [
        Part(f"{_named(incident.model)} {how} since {_day(since)}: "),
        Part(
            f"{_plain_measure(measured(transition))} {value}, {incident.rule.operator} the limit of {threshold}",
            reverse("incident", args=[incident.pk]),
        ),
        Part(f" (on {transition.n:,} rows, {_day(transition.window_start)})."),
    ]


def _plain_measure(text: str) -> str:
    """`log_loss of temp` -> `Log loss of temp`."""
    name, _, rest = text.partition(" ")
    title = METRICS[name].title if name in METRICS else name
    return f"{title} {rest}".strip()


def _causes(incident: Incident) -> list[Part]:
    causes = [cause for cause in incident.causes if cause.get("feature") or cause.get("segment")][
        :CAUSES_TOLD
    ]
    if not causes:
        return [
            Part(" No feature moved beyond its limit, so the cause is not in the inputs that are watched.")
        ]
    parts = [Part(" Likely cause: ")]
    for position, cause in enumerate(causes):
        if position:
            parts.append(Part("; "))
        name = cause.get("feature") or cause["segment"]
        url = reverse("feature", args=[incident.model.name, name]) if cause.get("feature") else ""
        parts += [Part(name, url), Part(_evidence(cause, name))]
    return [*parts, Part(".")]


def _evidence(cause: dict[str, object], name: str) -> str:
    text = str(cause.get("evidence", ""))
    text = text.removeprefix(f"{name} ").replace(f" in {name}:", ":")
    text = (
        text.split(", importance")[0]
        .removeprefix("moved: ")
        .replace(" (limit ", ", limit ")
        .removesuffix(")")
    )
    return f" ({text})" if text else ""


def _under_way(run: Run | None) -> list[Part]:
    if run is None:
        return []
    url = reverse("run", args=[run.model.name, run.pk])
    waits = f" waits for {run.waiting_for}" if run.waiting_for else f" is {run.state}"
    challenger = f" (version {run.challenger.version})" if run.challenger else ""
    return [Part(" "), Part(f"Retrain run {run.pk}", url), Part(f"{challenger}{waits}.")]


def _all_right(model: Model, newest: object) -> list[Part]:
    range_start = newest - queries.DAY * 14  # type: ignore[operator]
    metric = queries.main_metric(model)
    points = list(queries.points_in(model, [metric], range_start, newest, feature=""))  # type: ignore[arg-type]
    parts = [Part(f"{_named(model)} is all right: no rule fires.")]
    point = queries.newest_judged(points)
    if point:
        parts.append(Part(f" {METRICS[metric].title} was {_against(point)} on {_day(point.start)}."))
    elif queries.newest_reference(model) is None:
        parts += [
            Part(" It has no reference yet, so drift is not measured: "),
            Part("upload one", reverse("reference", args=[model.name])),
            Part("."),
        ]
    if not model.rules.exists():
        parts += [
            Part(" Nobody is told when that changes: "),
            Part("make a rule", reverse("rule_new", args=[model.name])),
            Part("."),
        ]
    return parts


def _against(point: MetricPoint) -> str:
    assert point.value is not None
    if point.threshold is None:
        return figure(point.value)
    value, limit = figures(point.value, point.threshold)
    return f"{value} (limit {limit})"


def _day(moment) -> str:  # type: ignore[no-untyped-def]
    return f"{moment:%-d %b %Y}" if moment.hour == 0 else f"{moment:%-d %b %Y %H:%M} UTC"


def of_project(verdicts: Sequence[tuple[Model, Verdict]]) -> Verdict:
    """Say how many models need somebody; the worst one's own sentence follows."""
    if not verdicts:
        return Verdict(
            "no_data", [Part("This project has no model yet. "), Part("Add the first one.", reverse("start"))]
        )
    troubled = [(model, verdict) for model, verdict in verdicts if verdict.status in ("critical", "warning")]
    total = f"{len(verdicts)} model{'s' if len(verdicts) != 1 else ''}"
    if not troubled:
        waiting = [model for model, verdict in verdicts if verdict.status == "no_data"]
        silent = f" {len(waiting)} of them has no data yet." if len(waiting) == 1 else ""
        return Verdict("ok", [Part(f"Nothing needs you: no rule fires on {total}.{silent}")])
    status = "critical" if any(verdict.status == "critical" for _, verdict in troubled) else "warning"
    needs = "needs" if len(troubled) == 1 else "need"
    return Verdict(status, [Part(f"{len(troubled)} of {total} {needs} attention. "), *troubled[0][1].parts])
