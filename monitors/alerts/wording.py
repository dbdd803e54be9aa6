"""How numbers, times and measurements read in titles and messages."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite

from driftline.base.number_format import format_number, format_pair
from driftline.base.periods import parse_timestamp
from monitors.alerts.models import Incident
from monitors.definitions.models import CUSTOM, CUSTOM_OF_LABELS, MonitorKind
from monitors.metrics.catalogue import METRICS, Metric
from monitors.metrics.catalogue import title_of as title_of_points
from monitors.metrics.evidence import evidence_sentence, onset_range
from monitors.rules.models import Rule, Transition

MAX_NAMES = 3
_COUNTED = {
    "faulty_features": ("fails quality checks", "fail quality checks"),
    "drifted_features": ("drifted", "drifted"),
}
"""Metrics that count features, with what one feature does and what several do."""
_COUNTED_BEFORE = {
    "faulty_features": ("failed quality checks", "failed quality checks"),
    "drifted_features": ("had drifted", "had drifted"),
}
"""The same of windows that are over."""
_BRIEF = {
    "psi": "PSI",
    "tv": "TV distance",
    "js": "JS distance",
    "ks": "KS distance",
    "wasserstein": "Wasserstein",
    "drift_evidence": "Slow drift",
    "drift_evidence_by_feature": "Slow drift",
    "performance_evidence": "Lasting loss",
    "volume_ratio": "Volume",
    "label_lag_p50": "Label lag",
    "label_lag_p95": "Label lag",
    "latency_p95": "Latency p95",
    "latency_p99": "Latency p99",
    "average_precision": "AP",
    "ece": "ECE",
    "mae": "MAE",
    "rmse": "RMSE",
    "mape": "MAPE",
}
"""The common short names of metrics with long titles, for subjects of e-mails."""


ROLLOUT = "rollout"
"""What alerts of a challenger that did harm have as their metric; it has no points."""


def title_of(transition: Transition) -> str:
    """Name the problem in one line: `flight-delay: Log loss 0.61 above 0.55`."""
    problem = transition.detail.get("title") or silence(transition) or _observed(transition)
    return shortened(f"{transition.model.name}: {problem}", 200)


def sentence_of_run(transition: Transition) -> str:
    """Return what a run says of the challenger that it rolled back; empty of what a rule measured."""
    return str(transition.detail.get("sentence", ""))


def fitted(title: str, metric: str, room: int) -> str:
    """Shorten a title to so many characters: with the metric's common short name, then without the names that it lists,
    and last without words at its end. Brackets are always closed.

    The cut is marked in ASCII: a subject that must be encoded may be folded, and then comes with a space doubled.
    """
    title = one_line(title)
    brief = _BRIEF.get(metric, "")
    shorter = title.replace(METRICS[metric].title, brief, 1) if brief else title
    without_quality = _without_quality(shorter)
    without_names = re.sub(r"( quality checks| drifted)( \(limit [^)]*\))?: [^:]*$", r"\1\2", shorter)
    without_both = _without_quality(without_names)
    without_brackets = re.sub(r" \([^()]*\)", "", without_both)
    for candidate in (title, shorter, without_quality, without_names, without_both, without_brackets):
        if len(candidate) <= room:
            return candidate
    return _cut(candidate, room)


def _without_quality(title: str) -> str:
    return re.sub(r"(fails?) quality checks", r"\1 checks", title)


def _cut(text: str, room: int) -> str:
    """Leave out the words at the end; of a single long word, such as a name, its end."""
    kept = text[: max(room - 3, 0)]
    if " " in kept.strip() and not text[len(kept) : len(kept) + 1].isspace():
        kept = kept.rpartition(" ")[0]
    if kept.count("(") > kept.count(")"):
        kept = kept[: kept.rindex("(")]
    return kept.rstrip(" ,:(") + "..."


def _observed(transition: Transition) -> str:
    rule, found = transition.deciding, transition.value
    if transition.lacks_data:
        return f"no data for {measured(transition)}"
    if found is not None and rule.operator == Rule.Operator.ABOVE and rule.metric in _COUNTED:
        return _count(transition, round(found))
    if found is not None and rule.metric == "volume_ratio":
        volume = f"Prediction volume{f' in {rule.segment}' if rule.segment else ''}"
        return f"{volume} {found:.0%} of normal, {rule.operator} {transition.threshold:.0%}"
    value, threshold = compared(transition)
    return f"{measured(transition)} {value} {rule.operator} {threshold}"


def stands(transition: Transition) -> str:
    """Return how what was measured stands to its limit, after `is` or `was`: `above 0.55`."""
    return (
        "without data"
        if transition.lacks_data
        else f"{transition.deciding.operator} {compared(transition)[1]}"
    )


def at_worst(transition: Transition, worst: float) -> str:
    """Return what the worst value was that the metric of a transition had: `At worst it was 5 h 3 min`."""
    rule = transition.deciding
    if rule.metric in _COUNTED:
        count = round(worst)
        one, more = _COUNTED_BEFORE[rule.metric]
        return f"At worst {count:,} feature{'s' if count != 1 else ''} {more if count != 1 else one}"
    if rule.metric == "volume_ratio":
        return f"At worst it was {worst:.0%} of normal"
    value, _ = compared(
        Transition(rule=rule, model=transition.model, value=worst, threshold=transition.threshold)
    )
    return f"At worst it was {value}"


def compared(transition: Transition) -> tuple[str, str]:
    """Write what was measured and its limit with their unit, with as few digits as keep the two apart."""
    metric, value, limit = METRICS.get(transition.deciding.metric), transition.value, transition.threshold
    unit = "" if metric is None or value is None or not isfinite(value) else metric.unit
    if unit == "s":
        return _lengths(value or 0.0, limit)
    if unit == "share" and metric is not None and _is_share_of_rows(metric):
        return _percents(value or 0.0, limit)
    pair = format_pair(value, limit)
    if custom := _unit_of_custom_metric(transition):
        return f"{pair[0]} {custom}", f"{pair[1]} {custom}"
    return (f"{pair[0]} {unit}", f"{pair[1]} {unit}") if unit in ("ms", "h", "rows", "rows/s") else pair


def _unit_of_custom_metric(transition: Transition) -> str:
    """Return the unit of what people defined; empty of any other metric, and once it was deleted."""
    rule = transition.deciding
    if rule.metric not in (CUSTOM, CUSTOM_OF_LABELS):
        return ""
    name = transition.detail.get("feature") or rule.feature
    custom = transition.model.custom_metrics.filter(name=name).first()
    return custom.unit if custom else ""


def _is_share_of_rows(metric: Metric) -> bool:
    """Return whether a share counts rows or requests, and is no score of quality such as accuracy."""
    return metric.kind in (MonitorKind.QUALITY, MonitorKind.SERVICE) or metric.name.startswith("label_")


def _percents(value: float, limit: float) -> tuple[str, str]:
    for digits in range(3):
        pair = f"{value:.{digits}%}", f"{limit:.{digits}%}"
        if pair[0] != pair[1] or value == limit:
            break
    return pair


def _lengths(seconds: float, limit: float) -> tuple[str, str]:
    pair = duration(timedelta(seconds=seconds)), duration(timedelta(seconds=limit))
    if min(seconds, limit) >= 60 and pair[0] != pair[1]:
        return pair
    exact = format_pair(seconds, limit)
    return f"{exact[0]} s", f"{exact[1]} s"


def _count(transition: Transition, count: int) -> str:
    """Return which features it is about: `age fails quality checks`, `2 features fail quality checks: age, purpose`."""
    rule = transition.deciding
    one, more = _COUNTED[rule.metric]
    names = _few((transition.detail.get("point") or {}).get("counted") or [])
    is_named = count == 1 and bool(names)
    what = f"{names if is_named else '1 feature'} {one}" if count == 1 else f"{count:,} features {more}"
    return (
        what
        + (f" in {rule.segment}" if rule.segment else "")
        + (f" (limit {format_number(transition.threshold)})" if transition.threshold else "")
        + (f": {names}" if names and not is_named else "")
    )


def silence(transition: Transition) -> str:
    """Return since when no predictions come, where that is the problem; empty where it is another one."""
    since = silent_since(transition)
    if since is None:
        return ""
    rows = transition.detail["point"].get("rows", 0)
    return f"{f'only {rows:,}' if rows else 'no'} predictions since {moment(since)}"


def silent_since(transition: Transition) -> datetime | None:
    """Return the start of the silence that opened an incident; None where it is about something else."""
    since = (transition.detail.get("point") or {}).get("since")
    return parse_timestamp(since) if transition.deciding.metric == "silence" and since else None


def measured(transition: Transition, *, counted: Sequence[str] | None = None) -> str:
    """Name what was measured: the metric, its feature (of a rule over all features the worst one; of a count those
    that it counts, or that another window `counted`) and its segment."""
    rule = transition.deciding
    feature = transition.detail.get("feature") or rule.feature
    if counted is None:
        counted = (transition.detail.get("point") or {}).get("counted")
    names = _few(counted or [])
    return (
        title_of_points(rule.metric, feature)
        + (f" in {rule.segment}" if rule.segment else "")
        + (f" ({names})" if names else "")
    )


def evidence_of(transition: Transition) -> str:
    """Return since when which windows add up to what; empty where the metric is of single windows."""
    length = transition.window_end - transition.window_start
    point = transition.detail.get("point") or {}
    return evidence_sentence(transition.deciding.metric, transition.value, point, length)


def since_range(incident: Incident) -> str:
    """Write from when to when what opened an incident may have begun; empty where its first window says it."""
    point = incident.opening.detail.get("point") or {}
    onset = point.get("onset")
    is_dated_by_it = onset is not None and parse_timestamp(onset) == incident.since
    return onset_range(point).strip() if is_dated_by_it else ""


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration(length: timedelta) -> str:
    """Write a length of time in its two largest units."""
    minutes = max(0, round(length.total_seconds() / 60))
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def one_line(text: str) -> str:
    """Fold line breaks and other control characters, which mail headers must not hold, into spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def shortened(text: str, longest: int, mark: str = "…") -> str:
    text = one_line(text)
    return text if len(text) <= longest else text[: longest - len(mark)].rstrip() + mark
