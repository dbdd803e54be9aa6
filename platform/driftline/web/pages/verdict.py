"""The sentence at the top of a page: what is wrong, since when, and why, from stored rows alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from driftline.base.number_format import format_number, format_pair
from driftline.base.periods import Period, counted, during, in_a_row, longest
from driftline.operations.stuck_work import StuckWork, stuck_work
from driftline.operations.watching import LEARNING, NOT_MONITORED, OK, Watch, waits_for, watch_of_each
from driftline.web.pages import queries
from driftline.web.pages.templatetags.figures import chance
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.alerts.wording import measured, sentence_of_run
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.catalogue import METRICS, is_drift
from monitors.metrics.explaining.causes import FAULT
from monitors.metrics.limits import NOT_SIGNIFICANT, RAISED, is_drifted
from monitors.metrics.store.models import MetricPoint
from monitors.workflows.models import Run

MAX_CAUSES = 2
TROUBLED = ("critical", "error", "warning")
"""The states in which a model needs somebody, the worst first."""


@dataclass(frozen=True)
class Phrase:
    """A piece of the sentence; with a URL it is a link."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Statement:
    """How something is: a status and the sentence that says so."""

    status: str
    parts: Sequence[Phrase] = field(default_factory=list)

    def html(self) -> SafeString:
        return format_html_join("", "{}", ((_piece(part),) for part in self.parts))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class PageSummary:
    """The sentence at the top of a page about one side of a model, without links, and how it looks."""

    status: str
    text: str


def _piece(part: Phrase) -> SafeString:
    if part.url:
        return format_html('<a href="{}">{}</a>', part.url, part.text)
    return format_html("{}", part.text)


def of_model(model: Model) -> Statement:
    """Return how a model is: its worst open incident and likely cause, or that nothing is wrong."""
    newest = newest_event(model)
    if newest is None:
        return Statement(
            NOT_MONITORED,
            [
                Phrase(f"{model.name} has no predictions yet. "),
                Phrase("Send the first one.", reverse("start")),
            ],
        )
    incidents = queries.unresolved(model)
    run = queries.active_run(model)
    stuck = stuck_work([model])
    if stuck and not (incidents and incidents[0].severity == "critical"):
        return Statement("error", [*_stuck(model, stuck), *_under_way(run)])
    features = queries.drift_lately(model, newest)
    if not incidents:
        drifted = [point for point in features if is_drifted(point)]
        odd = {kind: queries.odd_values_lately(model, kind, newest) for kind in queries.ODD_VALUES}
        performance = _performance_lately(model, newest)
        is_noticed = bool(drifted) or any(odd.values()) or any(one.status in RAISED for one in performance)
        watch = watch_of_each(Model.objects.filter(pk=model.pk), {model.pk: newest})[model.pk]
        if watch.status != OK and not is_noticed:
            return Statement(watch.status, [*_not_judged(model, newest, watch), *_under_way(run)])
        return Statement(
            "notice" if is_noticed else OK,
            [*_no_rule_fires(model, watch, performance, drifted, odd), *_under_way(run)],
        )
    worst = incidents[0]
    status = (
        "critical" if worst.severity == "critical" else "warning" if worst.severity == "warning" else "notice"
    )
    parts = [*_complaint(worst), *_causes(worst, incidents, features)]
    if len(incidents) > 1:
        more = f"{len(incidents) - 1} more incident{'s are' if len(incidents) > 2 else ' is'} open."
        parts += [Phrase(" "), Phrase(more, f"{reverse('incidents')}?model={model.name}")]
    if stuck:
        parts += [Phrase(" "), *_stuck(model, stuck)]
    return Statement(status, [*parts, *_under_way(run)])


def _stuck(model: Model, stuck: Sequence[StuckWork]) -> list[Phrase]:
    """Return what cannot be summarised, measured or judged, and why."""
    first = stuck[0]
    at = "" if first.start is None else f" of {_day(first.start)}"
    more = f" and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    failed = "could not be computed" if first.is_failed else "fails and is tried again"
    parts = [
        Phrase(f"{_named(model)} is not fully watched: "),
        Phrase(f"{first.what}{at}", reverse("model", args=[model.name])),
    ]
    return [*parts, Phrase(f"{more} {failed} ({first.reason}).")]


def _named(model: Model) -> str:
    champion = model.deployment.champion
    return f"{model.name} v{champion.version}" if champion else model.name


def _complaint(incident: Incident) -> list[Phrase]:
    """Return what its rule measures now, as the tile and the chart of the same page do, and since when it is wrong."""
    how = "has changed" if incident.severity == "notice" else "has been degraded"
    rule, newest = incident.rule, queries.newest_of(incident)
    measure, url = measured(incident.opening), reverse("incident", args=[incident.pk])
    if sentence_of_run(incident.opening):
        return [Phrase(incident.title, url), Phrase(".")]
    if incident.opening.lacks_data:
        return [
            Phrase(f"{incident.model.name} lacks data since {_day(incident.since)}: "),
            Phrase(f"no data for {measure}", url),
            Phrase("."),
        ]
    limit = f"{rule.operator} the limit of {format_number(rule.threshold)}{' of its rule' if rule.feature else ''}"
    begins = Phrase(f"{incident.model.name} {how} since {_day(incident.since)}: ")
    if newest is None or newest.value is None:
        return [begins, Phrase(f"{measure} went {limit}", url), Phrase(".")]
    value, threshold = format_pair(newest.value, rule.threshold)
    at = f"on {counted(newest.n, 'row')}, {_day(newest.start)}"
    if rule.is_breached_by(newest.value):
        measure = measured(incident.opening, counted=(newest.detail or {}).get("counted"))
        evidence = f"{measure} {value}, {limit.replace(format_number(rule.threshold), threshold)}"
        return [begins, Phrase(evidence, url), Phrase(f" ({at}).")]
    good = in_a_row(rule.recover_windows, rule.judged_span, "good ")
    return [
        begins,
        Phrase(f"{measure} went {limit}", url),
        Phrase(f"; it was back at {value} ({at}), and the incident ends after {good}."),
    ]


def _causes(
    incident: Incident, unresolved: Sequence[Incident], features: Sequence[MetricPoint]
) -> list[Phrase]:
    """Name what explains it: what was broken when it opened, and how far the feature stands off now."""
    named: dict[str, list[dict[str, object]]] = {}
    for cause in incident.causes:
        if name := cause.get("feature") or cause.get("segment"):
            named.setdefault(name, []).append(cause)
    if not named:
        return [] if sentence_of_run(incident.opening) else _no_cause(unresolved)
    now = {point.feature: point for point in features}
    is_over = all(_no_longer_drifts(now.get(name)) for name in list(named)[:MAX_CAUSES])
    parts = [Phrase(" Likely cause when it began: " if is_over else " Likely cause: ")]
    for position, (name, causes) in enumerate(list(named.items())[:MAX_CAUSES]):
        url = reverse("feature", args=[incident.model.name, name]) if causes[0].get("feature") else ""
        broken = "broken data in " if causes[0].get("kind") == FAULT else ""
        evidence = _evidence(causes, name, now.get(name))
        parts += [Phrase(("; " if position else "") + broken), Phrase(name, url), Phrase(f" ({evidence})")]
    return [*parts, Phrase(".")]


def _no_cause(unresolved: Sequence[Incident]) -> list[Phrase]:
    """Write that no feature stood out; where a rule with a limit of its own says that something moved, no more."""
    usual = " When it opened, no feature was beyond the limit that its reference sets"
    if any(is_drift(incident.rule.metric) for incident in unresolved):
        return [Phrase(f"{usual}.")]
    return [Phrase(f"{usual}, so the cause is not in the inputs that are watched.")]


def _evidence(causes: Sequence[dict[str, object]], name: str, now: MetricPoint | None) -> str:
    """Return how a feature drifts on the newest judged day; what was broken, and all else, as the incident opened."""
    evidence = []
    if causes[0].get("kind") == FAULT or now is None:
        evidence.append(f"{_as_it_opened(causes[0], name)} when it opened")
    if now is not None:
        over = "no longer drifting, " if _no_longer_drifts(now) else ""
        evidence.append(f"{over}PSI {_against(now)} on {_day(now.start)}")
    return "; ".join(evidence)


def _no_longer_drifts(now: MetricPoint | None) -> bool:
    return now is not None and now.status in (OK, NOT_SIGNIFICANT)


def _as_it_opened(cause: dict[str, object], name: str) -> str:
    text = str(cause.get("evidence", "")).removeprefix(f"{name} ").removeprefix("moved: ")
    text = text.replace(f" in {name}:", ":").split(", importance")[0]
    text = text.replace(" against a limit of ", ", limit ")
    return re.sub(r" \((limit [^)]*)\)", r", \1", text)


def _under_way(run: Run | None) -> list[Phrase]:
    if run is None:
        return []
    url = reverse("run", args=[run.model.name, run.pk])
    waits = f" waits for {run.waiting_for}" if run.waiting_for else f" is {run.state}"
    challenger = f" (version {run.challenger.version})" if run.challenger else ""
    return [Phrase(" "), Phrase(f"Retrain run {run.pk}", url), Phrase(f"{challenger}{waits}.")]


def _not_judged(model: Model, newest: datetime, watch: Watch) -> list[Phrase]:
    """Write that a model is not monitored and what it lacks, or that it is learning and what it waits for."""
    if watch.status == LEARNING:
        waits = "; ".join(waits_for(model, newest))
        return [Phrase(f"Nothing of {_named(model)} is judged yet: {waits}."), *_lacking(model, watch)]
    return [Phrase(f"{_named(model)} is not monitored."), *_lacking(model, watch)]


def _lacking(model: Model, watch: Watch) -> list[Phrase]:
    """Name what a model lacks to be watched as a whole, each with where to give it."""
    parts: list[Phrase] = []
    if "reference" in watch.missing:
        parts += [
            Phrase(" It has no reference, so drift is not measured: "),
            Phrase("upload one", reverse("reference", args=[model.name])),
            Phrase("."),
        ]
    if "rule" in watch.missing:
        parts += [
            Phrase(" Nobody is notified of what goes wrong: "),
            Phrase("make a rule", reverse("rule_new", args=[model.name])),
            Phrase("."),
        ]
    return parts


def _performance_lately(model: Model, newest: datetime) -> list[MetricPoint]:
    """List the points of performance of the newest window in which the main metric was judged, or any of them."""
    span, metrics = span_of(model, MonitorKind.PERFORMANCE), queries.performance_metrics(model)
    since = newest - longest(span) * queries.PERFORMANCE_WINDOWS
    points = queries.judged_points(model, metrics, since, newest, span=span)
    return queries.judged_with(points, main_metric(model))


def _no_rule_fires(
    model: Model,
    watch: Watch,
    performance: Sequence[MetricPoint],
    drifted: Sequence[MetricPoint],
    odd: Mapping[str, Sequence[MetricPoint]],
) -> list[Phrase]:
    parts = _moved(model, drifted) if drifted else []
    for kind, features in odd.items():
        if features:
            parts += _of_odd_values(model, kind, features, is_first=not parts)
    if any(one.status in RAISED for one in performance):
        parts.append(_beyond_limits(model, performance, is_first=not parts))
    parts = parts or [Phrase(_calm(model, watch))]
    main = next((one for one in performance if one.metric == main_metric(model)), None)
    if main:
        when = during(main.start, main.span)
        parts.append(Phrase(f" {METRICS[main.metric].title} was {_against(main)}, {when}."))
    return [*parts, *_lacking(model, watch)]


def _beyond_limits(model: Model, performance: Sequence[MetricPoint], *, is_first: bool) -> Phrase:
    """Name the metrics of performance that are beyond their limits although no rule fires."""
    raised = [METRICS[one.metric].title for one in performance if one.status in RAISED]
    beyond = f"{len(raised)} of {len(performance)} metrics of its performance are beyond their limits"
    more = f" and {len(raised) - MAX_CAUSES} more" if len(raised) > MAX_CAUSES else ""
    named = f"{beyond}: {', '.join(raised[:MAX_CAUSES])}{more}."
    return Phrase(f"No rule fires on {_named(model)}, but {named}" if is_first else f" {named}")


def _calm(model: Model, watch: Watch) -> str:
    """Write that no rule fires; that all is well only of a model that is watched as a whole."""
    if "rule" in watch.missing:
        return f"No rule watches {_named(model)}."
    return (
        f"No rule fires on {_named(model)}."
        if watch.missing
        else f"{_named(model)} is all right: no rule fires."
    )


def _moved(model: Model, drifted: Sequence[MetricPoint]) -> list[Phrase]:
    """Name what drifted although no rule asks for it, the furthest first, and what changed in it."""
    start, span = drifted[0].start, drifted[0].span
    begins = f"No rule fires on {_named(model)}, but {len(drifted)} of its features drifted {during(start, span)}: "
    parts = [Phrase(begins)]
    decided = [one for one in queries.drift_on(model, start) if is_drifted(one)]
    for position, point in enumerate(decided[:MAX_CAUSES]):
        url = reverse("feature", args=[model.name, point.feature])
        changes = queries.changes_of(model, point.feature, Period(point.start, point.end))
        p_value = chance((point.detail or {}).get("decision_p_value"))
        evidence = f"{METRICS[point.metric].title} {_against(point)}" + (f", {p_value}" if p_value else "")
        parts += [
            Phrase(", " if position else ""),
            Phrase(point.feature, url),
            Phrase(f" ({'; '.join([*changes, evidence])})"),
        ]
    return [*parts, Phrase(" and more." if len(drifted) > MAX_CAUSES else ".")]


def _of_odd_values(model: Model, kind: str, odd: Sequence[MetricPoint], *, is_first: bool) -> list[Phrase]:
    """Name the features with values of the wrong type, or impossible ones, although no rule asks for them."""
    what = queries.ODD_VALUES[kind]
    if all((point.detail or {}).get("kind") == "implausible" for point in odd):
        what = "implausible values"
    begins = f"No rule fires on {_named(model)}, but {what}" if is_first else f" {what[0].upper()}{what[1:]}"
    parts = [Phrase(f"{begins} came {during(odd[0].start, odd[0].span)} in ")]
    for position, point in enumerate(odd[:MAX_CAUSES]):
        url = reverse("feature", args=[model.name, point.feature])
        detail = point.detail or {}
        value = f"{detail['value']:g} in " if "value" in detail else ""
        share = f" ({value}{point.value or 0:.2%} of {point.n:,} rows)"
        parts += [Phrase(", " if position else ""), Phrase(point.feature, url), Phrase(share)]
    return [*parts, Phrase(" and more." if len(odd) > MAX_CAUSES else ".")]


def _against(point: MetricPoint) -> str:
    assert point.value is not None
    if point.threshold is None:
        return format_number(point.value)
    value, limit = format_pair(point.value, point.threshold)
    return f"{value}, limit {limit}{' of its rule' if point.rule else ''}"


def _day(moment: datetime) -> str:
    return f"{moment:%-d %b %Y}" if moment.hour == 0 else f"{moment:%-d %b %Y %H:%M} UTC"


def of_project(verdicts: Sequence[tuple[Model, Statement]]) -> Statement:
    """Return how many models need somebody; the worst one's own sentence follows."""
    if not verdicts:
        return Statement(
            "no_data",
            [Phrase("This project has no model yet. "), Phrase("Add the first one.", reverse("start"))],
        )
    troubled = [(model, verdict) for model, verdict in verdicts if verdict.status in TROUBLED]
    total = f"{len(verdicts)} model{'s' if len(verdicts) != 1 else ''}"
    if not troubled:
        statuses = [verdict.status for _, verdict in verdicts]
        silent = _unwatched(statuses)
        if noticed := [verdict for _, verdict in verdicts if verdict.status == "notice"]:
            first = Phrase(f"Nothing is urgent on {total}.{silent} ")
            return Statement("notice", [first, *noticed[0].parts, *_more_changed(len(noticed) - 1)])
        status = min(statuses, key=(OK, LEARNING, NOT_MONITORED).index)
        return Statement(status, [Phrase(f"Nothing needs you: no rule fires on {total}.{silent}")])
    status = min((verdict.status for _, verdict in troubled), key=TROUBLED.index)
    needs = "needs" if len(troubled) == 1 else "need"
    return Statement(
        status, [Phrase(f"{len(troubled)} of {total} {needs} attention. "), *troubled[0][1].parts]
    )


def _unwatched(statuses: Sequence[str]) -> str:
    """Return how many models nothing is known of, which is no reason to be calm."""
    clauses = []
    for status, what in ((NOT_MONITORED, "not monitored"), (LEARNING, "still learning")):
        many = statuses.count(status)
        if many:
            clauses.append(f" {many} of them {'is' if many == 1 else 'are'} {what}.")
    return "".join(clauses)


def _more_changed(count: int) -> list[Phrase]:
    return [Phrase(f" {count} more model{'s' if count > 1 else ''} changed.")] if count else []
