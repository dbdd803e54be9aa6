"""A rollout on the page of its run: the share over time, the guards, and the measured repair."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from driftline.base.clock import now
from driftline.base.periods import parse_timestamp
from driftline.web.charts.svg import Chart, ChartLine, Dot
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run
from monitors.workflows.rollouts.plan import Guard, RolloutPlan
from monitors.workflows.rollouts.plan_text import write_length, write_steps

GUARDS = {
    Guard.FAILURES: "Failed requests",
    Guard.NOT_FINITE: "Outputs that are not finite",
    Guard.LATENCY: "p99 latency",
    Guard.CLASS_SHARES: "Predicted classes",
    Guard.SCORES: "Scores",
    Guard.SPLIT: "Split of the keys",
    Guard.QUALITY: "Quality by labels",
}
LIMIT_IS = {Guard.FAILURES: "the champion's", Guard.NOT_FINITE: "the champion's", Guard.SPLIT: "its weight"}
STATUS = {"pass": "ok", "fail": "critical", "inconclusive": "warning", "no_traffic": "no_data"}
REPAIR_STATUS = {"better": "ok", "worse": "critical", "no clear difference": "notice"}
WORDS = {"pass": "Passed", "fail": "Failed", "inconclusive": "Not sure", "no_traffic": "Too few rows"}


def describe_rollout(run: Run) -> dict[str, Any] | None:
    """Prepare the rollout of a run for its page; None of a run without one."""
    if not hasattr(run, "rollout"):
        return None
    rollout: Rollout = run.rollout
    newest, plan = rollout.newest_check, RolloutPlan.parse(rollout.plan)
    return {
        "row": rollout,
        "chart": _weight_chart(run, rollout),
        "history": [one | {"at": parse_timestamp(one["at"])} for one in reversed(rollout.history)],
        "plan": describe_plan(plan),
        "checked_at": parse_timestamp(newest["at"]) if newest else None,
        "answered": rollout.answered,
        "ends_by": _ends_by(plan),
        "weight": newest["weight"] if newest else 0.0,
        "guards": [_guard(one) for one in newest["guards"]] if newest else [],
        "repair": describe_repair(rollout.repair),
    }


def describe_plan(plan: RolloutPlan) -> list[str]:
    """Write a plan as lines: its steps, the promotion and the watch."""
    watch = [f"then watched for {write_length(plan.watch_seconds)} beside the old champion"]
    last = "100%" if plan.steps else "all requests at once"
    return [*write_steps(plan.steps).splitlines(), last, *(watch if plan.watch_seconds else [])]


def describe_repair(repair: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Prepare the measured repair, if there is one."""
    return {**repair, "status": REPAIR_STATUS[repair["verdict"]]} if repair else None


def _ends_by(plan: RolloutPlan) -> str:
    """Name what the steps of a plan wait for."""
    units = [unit for unit in ("rows", "requests") if any(getattr(step, unit) for step in plan.steps)]
    return " and ".join(["time", *units])


def _guard(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "title": GUARDS.get(Guard(found["guard"]), found["guard"]),
        "status": STATUS[found["verdict"]],
        "word": WORDS[found["verdict"]],
        "limit_is": LIMIT_IS.get(Guard(found["guard"]), ""),
    }


def _weight_chart(run: Run, rollout: Rollout) -> Chart:
    """Draw the share that the challenger answered from step to step, up to now or the end of the run."""
    start = parse_timestamp(rollout.history[0]["at"])
    end = max(run.finished_at or now(), start + timedelta(seconds=1))
    dots = list(_periods(rollout.history, end))
    state = "answers" if run.state in ACTIVE_STATES else "answered at last"
    return Chart(
        "weight", "Share of the challenger",
        f"The challenger {state} {rollout.weight:.1%} of the requests.",
        start, end, [ChartLine("share", dots, "second", bars=True)], unit="%", from_zero=True, top=100.0,
        least_top=100.0, limits=False,
    )  # fmt: skip


def _periods(history: Sequence[Mapping[str, Any]], end: datetime) -> list[Dot]:
    """Return each weight as a period that lasts until the next one."""
    moments = [*(parse_timestamp(one["at"]) for one in history), end]
    return [
        Dot(begin, until, one["weight"] * 100)
        for one, (begin, until) in zip(history, pairwise(moments), strict=True)
        if until > begin
    ]
