"""How numbers, times and measurements read in titles and messages."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from driftline.common.number_format import format_pair
from monitors.metrics.catalogue import METRICS
from monitors.rules.models import Transition

MAX_NAMES = 3


def title_of(transition: Transition) -> str:
    """Name the problem in one line: `flight-delay: Log loss 0.61 above 0.55`."""
    value, threshold = format_pair(transition.value, transition.threshold)
    title = f"{transition.model.name}: {measured(transition)} {value} {transition.rule.operator} {threshold}"
    return shortened(title, 200)


def measured(transition: Transition) -> str:
    """Name what was measured: the metric, its feature (of a rule over all features the worst one; of a count those
    that it counts) and its segment."""
    rule = transition.rule
    feature = transition.detail.get("feature") or rule.feature
    title = METRICS[rule.metric].title if rule.metric in METRICS else rule.metric
    counted = _few((transition.detail.get("point") or {}).get("counted") or [])
    return (
        title
        + (f" of {feature}" if feature else "")
        + (f" in {rule.segment}" if rule.segment else "")
        + (f" ({counted})" if counted else "")
    )


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
