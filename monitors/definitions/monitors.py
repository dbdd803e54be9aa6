"""Which windows the monitors of a model judge: by themselves, or as a person or a rule asks."""

from collections.abc import Collection, Mapping, Sequence

from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.errors import invalid
from driftline.base.http.request_values import span_refusal
from driftline.base.periods import is_span
from inference.registry.models import Model
from monitors.definitions.models import Monitor
from monitors.definitions.signals import span_changed

AUTO = "auto"
_CHANGING = ["span", "is_span_chosen", "rule_spans"]


def fit_span(*, monitor: Monitor, span: str) -> None:
    """Make a monitor that follows the traffic judge windows of the span that fits it now.

    What a person chose since `monitor` was read stays, and is read into it.
    """
    with transaction.atomic():
        _lock(monitor)
        if not monitor.is_span_chosen and monitor.span != span:
            _change_span(monitor, span, is_chosen=False, actor="worker")


def choose_span(*, monitor: Monitor, span: str, actor: str) -> None:
    """Set the span of a monitor as a person wants it; `auto` lets it follow the traffic again.

    Raises Problem (422) for a span that windows do not have.
    """
    if span != AUTO and not is_span(span):
        raise invalid("/span", span_refusal("span", span, AUTO))
    is_chosen = span != AUTO
    with transaction.atomic():
        _lock(monitor)
        wanted = span if is_chosen else monitor.span
        if (is_chosen, wanted) != (monitor.is_span_chosen, monitor.span):
            _change_span(monitor, wanted, is_chosen=is_chosen, actor=actor)


def lock_monitors(model: Model | int) -> list[Monitor]:
    """Keep others from changing the spans of a model's monitors until the transaction ends: workers and people may do
    so at once. Whoever writes rules of the model too locks these first.
    """
    return list(Monitor.objects.select_for_update(of=("self",)).filter(model=model).order_by("pk"))


def _lock(monitor: Monitor) -> None:
    """Lock the monitors of a model and read one again."""
    lock_monitors(monitor.model_id)
    monitor.refresh_from_db(fields=_CHANGING)


def _change_span(monitor: Monitor, span: str, *, is_chosen: bool, actor: str) -> None:
    """Make a locked monitor judge windows of another span from now on, and have its history measured by it."""
    before = monitor.span_text
    is_new = span not in monitor.spans
    monitor.span, monitor.is_span_chosen = span, is_chosen
    monitor.save(update_fields=["span", "is_span_chosen"])
    record_audit(
        project=monitor.model.project,
        actor=actor,
        action="monitor.span",
        subject=monitor.model.name,
        before={"kind": monitor.kind, "span": before},
        after={"kind": monitor.kind, "span": monitor.span_text},
    )
    span_changed.send(sender=Monitor, monitor=monitor, span=span if is_new or span == "day" else "")
    monitor.refresh_from_db(fields=_CHANGING)  # rules that keep their span are measured beside it


def set_rule_spans(*, monitors: Sequence[Monitor], spans: Mapping[str, Collection[str]]) -> None:
    """Set the spans, by kind of monitor, of windows that are measured beside the own ones of locked monitors, as rules
    judge by them.
    """
    began: list[tuple[Monitor, str]] = []
    for monitor in monitors:
        before = monitor.spans
        beside = sorted({*spans.get(monitor.kind, ())} - {monitor.span, "day"})
        if beside != monitor.rule_spans:
            monitor.rule_spans = beside
            monitor.save(update_fields=["rule_spans"])
            began += [(monitor, span) for span in sorted(monitor.spans - before)]
    for monitor, span in began:
        span_changed.send(sender=Monitor, monitor=monitor, span=span)


def span_of(model: Model, kind: str) -> str:
    """Return the span of the windows that a monitor of a model judges; read once, as pages ask several times."""
    spans: dict[str, str] | None = model.__dict__.get("_spans_of_monitors")
    if spans is None:
        spans = model.__dict__["_spans_of_monitors"] = dict(model.monitors.values_list("kind", "span"))
    return spans.get(kind, "day")


def longer_spans(model: Model | int) -> set[str]:
    """List the spans longer than a day of which some window of a model is judged."""
    monitors = Monitor.objects.filter(model=model, enabled=True)
    return {span for monitor in monitors for span in monitor.spans} - {"hour", "day"}
