"""The page of a comparison: may the challenger be promoted? What both answered, and with labels which one is better.

A shadow answered the same requests as the champion, a canary others: its evidence is unpaired.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpResponse

from driftline.base.errors import Problem
from driftline.base.number_format import format_number
from driftline.web.charts.svg import Chart, ChartLine, Dot, milestones
from driftline.web.pages import chart_marks
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.versions.version_in_processes import shadow_drops, version_in_processes
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.repair.runs import paired_tables
from driftline.web.pages.verdict import PageSummary
from inference.registry.models import Model, Version
from inference.registry.selectors import get_model, get_version
from monitors.workflows import selectors
from monitors.workflows.judging.agreement import Agreement, Differences
from monitors.workflows.models import ACTIVE_STATES, Run, Workflow
from monitors.workflows.schemas import PairedComparisonOut, UnpairedComparisonOut

DROP_WORDS = {
    "queue_full": "Too many copies were waiting",
    "spool_full": "The log was full",
    "spool_unwritable": "The log could not be written",
    "failed": "The version failed on these values",
    "timeout": "The version took too long",
    "circuit_open": "Most of its last copies had failed, so copies paused",
    "shutdown": "The serving process ended before their turn",
    "loop": "The copies came back from a server that shadows with this one",
    "other_inputs": "The version takes other inputs than the champion",
}


@page("GET")
def shadow(request: PageRequest, name: str) -> HttpResponse:
    """Show the page at once; `?part=evidence` compares, which reads the log, and `?evidence=1` is both in one."""
    if request.GET.get("part") == "evidence":
        return _evidence_alone(request, name)
    frame = frame_of(request, name, "shadow")
    model: Model = frame["model"]
    challenger = _challenger(request, model)
    frame |= {
        "challenger": challenger,
        "others": selectors.challengers(model),
        "champion": model.deployment.champion,
    }
    if challenger is None:
        return render_with_charts(request, "pages/repair/shadow.html", frame)
    frame |= {
        "is_shadow": model.deployment.shadows.filter(pk=challenger.pk).exists(),
        "canary_weight": model.deployment.canary_weight if challenger == model.deployment.canary else None,
        "is_champion": challenger == model.deployment.champion,
        "run": Run.objects.filter(model=model, challenger=challenger).order_by("-pk").first(),
        "active_states": list(ACTIVE_STATES),
        "wanted_pairs": Workflow.of(model).pairs,
        "drops": _drops(model, challenger),
        "in_processes": version_in_processes(challenger, settings.HOME),
    }
    if request.GET.get("evidence"):
        frame |= {"shows_evidence": True, **_evidence(model, challenger)}
    return render_with_charts(request, "pages/repair/shadow.html", frame)


def _evidence_alone(request: PageRequest, name: str) -> HttpResponse:
    model = get_model(project=request.visitor.project, name=name)
    challenger = _challenger(request, model)
    if challenger is None:
        evidence: dict[str, Any] = {
            "summary": PageSummary("no_data", f"No version of {model.name} has been a shadow or canary yet.")
        }
    else:
        evidence = _evidence(model, challenger)
    frame = {"model": model, "challenger": challenger, **evidence}
    return render_with_charts(request, "partials/shadow_evidence.html", frame)


def _challenger(request: PageRequest, model: Model) -> Version | None:
    version = request.GET.get("challenger", "")
    return get_version(model=model, version=version) if version else selectors.last_challenger(model)


def _drops(model: Model, challenger: Version) -> list[tuple[str, int]]:
    drops = shadow_drops(model, challenger.version, settings.HOME)
    return [
        (DROP_WORDS.get(reason, reason.replace("_", " ")), count) for reason, count in drops.most_common()
    ]


def _evidence(model: Model, challenger: Version) -> dict[str, Any]:
    """Everything that needs the pairs: agreement, and the gate's view of the labelled ones."""
    try:
        champion, _, agreement = selectors.agreement(model=model, challenger=challenger.version)
    except Problem as problem:
        return {"summary": PageSummary("no_data", problem.detail)}
    if agreement is None:
        return _unpaired_evidence(model, champion, challenger)
    gate = _gate(model, champion, challenger)
    return {
        "summary": _summary(champion, challenger, agreement, gate),
        "compared_with": champion,
        "agreement": agreement,
        "gate": gate,
        "worse_segments": _worse_segments(gate),
        "chart": _chart(model, agreement),
        "difference_bars": _bars(agreement.differences) if agreement.differences else [],
    }


def _unpaired_evidence(model: Model, champion: Version, challenger: Version) -> dict[str, Any]:
    """What a canary shows that answered no request beside the champion."""
    compared = selectors.unpaired_comparison(model=model, challenger=challenger)
    if compared is None:
        text = f"Version {challenger.version} has answered no request beside version {champion.version} yet."
        return {"summary": PageSummary("no_data", text)}
    gate = _tables_of(compared)
    return {
        "summary": _unpaired_summary(compared, gate),
        "unpaired": gate,
        "compared_with": compared.champion,
    }


def _unpaired_summary(compared: UnpairedComparisonOut, gate: Mapping[str, Any]) -> PageSummary:
    """Return what the canary shows, and that its requests were others than the champion's."""
    rows, version = compared.sides["challenger"]["rows"], compared.challenger
    if not rows:
        return PageSummary("no_data", f"Version {version} is a canary and has answered no request yet.")
    status, words = DECISIONS[compared.verdict.decision]
    measured = _measured(gate)
    on = f" on {compared.labelled:,} labelled answers of its own" if measured else ""
    others = f"it answered {rows:,} requests that version {compared.champion} did not, so there are no pairs"
    return PageSummary(status, f"Version {version} {words}:{measured}{on}{';' if measured else ''} {others}.")


def _gate(model: Model, champion: Version, challenger: Version) -> dict[str, Any] | None:
    """The labelled pairs as the gate sees them now; None while no label has had time to come."""
    compared = selectors.paired_comparison(model=model, champion=champion, challenger=challenger)
    return _tables_of(compared) if compared is not None and compared.labelled else None


def _tables_of(compared: PairedComparisonOut | UnpairedComparisonOut) -> dict[str, Any]:
    return paired_tables(msgspec.structs.asdict(compared), asdict(compared.verdict))


def _worse_segments(gate: dict[str, Any] | None) -> list[str]:
    segments = gate["segments"] if gate else []
    return [name for name, _, rows in segments if any(row["verdict"] == "worse" for row in rows)]


# -- the sentence ------------------------------------------------------------------------------------------------------
DECISIONS = {
    "promote": ("ok", "may be promoted"),
    "reject": ("warning", "should not be promoted"),
    "inconclusive": ("notice", "is neither clearly better nor clearly worse; more labels may tell"),
}


def _summary(
    champion: Version, challenger: Version, agreement: Agreement, gate: Mapping[str, Any] | None
) -> PageSummary:
    """Return whether to promote and by what, else how far the versions agree and what is missing."""
    both = (
        f"it answers like version {champion.version} on {agreement.share:.1%} of {agreement.pairs:,} requests"
    )
    if gate is None:
        waits = (
            "no label has had time to come" if agreement.labelled == 0 else "their labels are still coming"
        )
        return PageSummary(
            "notice",
            f"Version {challenger.version} cannot be judged yet: {both}, and {waits}, so which of the two is right is "
            "not known.",
        )
    status, words = DECISIONS.get(gate["verdict"]["decision"], ("notice", "is not decided"))
    measured = _measured(gate)
    if measured:
        measured += f" on {gate['comparison']['n_labelled']:,} labelled pairs;"
    return PageSummary(status, f"Version {challenger.version} {words}:{measured} {both}.")


def _measured(gate: Mapping[str, Any]) -> str:
    """Write the difference of the metric that decides; of a verdict that names none, of the first with an interval."""
    decisive = (gate["verdict"].get("judged") or [])[:1] or [row["name"] for row in gate["metrics"]]
    best = next(
        (row for row in gate["metrics"] if row["name"] in decisive and row.get("lower") is not None), None
    )
    if best is None:
        return ""
    interval = f"{gate['comparison']['confidence']:.0%} interval {best['lower']:+.4f} to {best['upper']:+.4f}"
    return f" {best['title']} {best['difference']:+.4f} ({best['verdict']}, {interval})"


# -- pictures ----------------------------------------------------------------------------------------------------------
def _chart(model: Model, agreement: Agreement) -> Chart:
    one_day = timedelta(days=1)
    dots = [Dot(day, day + one_day, agreed / n, n) for day, n, agreed in agreement.by_day]
    return Chart(
        id="agreement", title="Agreement", unit="share of pairs a day",
        summary=f"Both answered the same on {agreement.share:.1%} of {agreement.pairs:,} pairs.",
        start=dots[0].start, end=dots[-1].end, series=[ChartLine("same answer", dots, bars=True, look="second")],
        from_zero=True, top=1.0, limits=False, compact=True,
        marks=milestones(chart_marks.marks_in(model, dots[0].start, dots[-1].end)),
    )  # fmt: skip


@dataclass(frozen=True)
class DifferenceBar:
    """The share of pairs whose scores differ by so much; `width` in percent of the largest."""

    name: str
    share: float
    width: float


def _bars(differences: Differences) -> list[DifferenceBar]:
    """Name each bin of the differences; empty ones at both ends are left out."""
    used = [place for place, share in enumerate(differences.histogram) if share]
    largest = max(differences.histogram)
    return [
        DifferenceBar(
            f"{_edge(differences.edges[place])} to {_edge(differences.edges[place + 1])}",
            differences.histogram[place],
            round(100 * differences.histogram[place] / largest, 1),
        )
        for place in range(used[0], used[-1] + 1)
    ]


def _edge(value: float) -> str:
    if abs(value) <= 1e-9:
        return "0"
    return f"{'+' if value > 0 else ''}{format_number(value)}"
