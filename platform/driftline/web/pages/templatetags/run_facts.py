"""Filters for what a step of a run found: each fact under a name, and with a unit, that people know."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import template
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html

from driftline.base.periods import parse_timestamp
from driftline.base.state_words import words
from driftline.web.pages.templatetags.figures import evidence, percent, seconds, when
from monitors.metrics.catalogue import METRICS

register = template.Library()

_NAMES = {
    "asked_about_twins": "Asked a person about repeated rows",
    "from_log": "Rows from the log",
    "from_reference": "Rows from the reference",
    "grouped_by": "Folds grouped by",
    "held_out": "Rows held out",
    "holdout_rows": "Rows held out",
    "holdout_start": "Held out from",
    "label_share": "Rows with a label",
    "max_difference": "Largest difference to the trained model",
    "newest_days": "Newest days looked at",
    "out_of_fold": "On rows that each fold had not seen",
    "peak_memory_mb": "Most memory used",
    "row_latency_us": "Time for one row",
    "seconds": "Time taken",
    "seed": "Random seed",
    "sha256": "Fingerprint (SHA-256)",
    "share_over_tolerance": "Rows beyond the tolerance",
    "size_bytes": "Size",
    "training_rows": "Rows to train on",
    "twins": "Held-out rows that repeat a training row",
    "unknown_labels": "Rows of unknown classes",
    "unseen_rows": "Rows with unseen categories tried",
    "usual_share_of_twins": "Usual share of repeated rows",
    "wanted": "Pairs asked for",
}
_UNITS: dict[str, Callable[[Any], str]] = {
    "label_share": percent,
    "peak_memory_mb": lambda value: f"{value:,.0f} MB",
    "row_latency_us": lambda value: f"{value:,.0f} µs",
    "share_over_tolerance": percent,
    "size": filesizeformat,
    "size_bytes": filesizeformat,
    "usual_share_of_twins": percent,
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:.*")
_SHOWN_OF_DIGEST = 12


@register.filter
def fact_name(name: str) -> str:
    """Name a fact; one that is a metric has the metric's title."""
    return _NAMES.get(name) or (METRICS[name].title if name in METRICS else words(name))


@register.filter
def fact(value: Any, name: str) -> str:
    """Write a fact with its unit: times as people write them, a digest by its first characters."""
    if name in _UNITS and isinstance(value, int | float):
        return _UNITS[name](value)
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return format_html('<code title="{}">{}…</code>', value, value[:_SHOWN_OF_DIGEST])
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return when(parse_timestamp(value))
        except ValueError:
            return value
    return evidence(value)


@register.filter
def length_of(value: Any) -> str:
    """Write seconds as a length of time."""
    if not isinstance(value, int | float):
        return evidence(value)
    return seconds(timedelta(seconds=value))
