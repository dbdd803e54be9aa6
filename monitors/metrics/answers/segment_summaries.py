"""Adds up the stored summaries of one window: a summary of each segment, by version and across versions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db.models import QuerySet

from inference.prediction_log.models import ANSWERING_ROLES
from inference.registry.models import Model
from monitors.metrics.store.points import Population
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.window_summary import (
    WindowSummary,
    decode_outcomes,
    merge_stored,
    merge_windows,
)
from monitors.summaries.models import Summary


@dataclass(frozen=True)
class SegmentSummary:
    """The summary of a segment's rows in one window: those of one version and role, or all that callers were answered.

    The latter have the role of the champion and no version; a canary's rows are among them, and `version_id` is the
    version that answered most. The segment of all rows has no name. `blocks` are the outcomes of the shorter windows
    that the summary was added up from, by their start.
    """

    role: str
    version: str
    version_id: int
    segment: str
    summary: WindowSummary
    blocks: Mapping[datetime, OutcomeSummary] = field(default_factory=dict)

    @property
    def population(self) -> Population:
        """Whose requests its points count."""
        return Population(self.role, self.version, self.segment)

    @property
    def is_whole(self) -> bool:
        """Whether it holds all rows."""
        return not self.segment

    @property
    def is_champion(self) -> bool:
        """Whether it holds all that callers were answered, by whichever version."""
        return self.role == "champion" and not self.version


def summaries_to_add_up(model: Model) -> QuerySet[Summary]:
    """Select a model's summaries with their versions, but for what is wide in these."""
    wide = (f"version__{name}" for name in ("signature", "intake_report", "lineage"))
    return Summary.objects.filter(model=model).select_related("version").defer(*wide)


def segment_summaries(
    rows: Iterable[Summary],
    shorter: Iterable[Summary] = (),
    *,
    features: Collection[str] | None = None,
    with_outcomes: bool = True,
) -> list[SegmentSummary]:
    """Add up the summaries `rows` of one window by version, role and segment, and what callers were answered together.

    `shorter` are summaries of the windows that this one consists of, where `rows` are not these themselves and do
    not stand for them. Of the features those named are unpacked, or all, and outcomes unless nothing asks for them.
    """
    parts: dict[tuple[str, int, str], list[Summary]] = {}
    for row in rows:
        parts.setdefault((row.role, row.version_id, row.segment), []).append(row)
    blocks: dict[tuple[str, int, str], dict[datetime, OutcomeSummary]] = {}
    for row in shorter:
        outcome = WindowSummary.decode(bytes(row.payload), features=()).outcome
        if outcome is not None:
            blocks.setdefault((row.role, row.version_id, row.segment), {})[row.start] = outcome
    by_version = [
        _add_up(summaries, blocks.get(population, {}), features, with_outcomes)
        for population, summaries in sorted(parts.items())
    ]
    answered: dict[str, list[SegmentSummary]] = {}
    for segment in by_version:
        if segment.role in ANSWERING_ROLES:
            answered.setdefault(segment.segment, []).append(segment)
    together = [_across_versions(versions) for versions in answered.values()]
    return [one for one in by_version if one.is_whole or one.role != "champion"] + together


def _add_up(
    rows: list[Summary],
    blocks: Mapping[datetime, OutcomeSummary],
    features: Collection[str] | None,
    with_outcomes: bool,
) -> SegmentSummary:
    first = rows[0]
    summary, outcomes = merge_stored(
        [bytes(row.payload) for row in rows], features=features, with_outcomes=with_outcomes
    )
    if len(rows) > 1:
        blocks = {
            row.start: outcome for row, outcome in zip(rows, outcomes, strict=True) if outcome is not None
        }
    elif first.blocks is not None and with_outcomes:
        blocks = {
            datetime.fromtimestamp(start, UTC): outcome
            for start, outcome in decode_outcomes(bytes(first.blocks)).items()
        }
    return SegmentSummary(first.role, first.version.version, first.version_id, first.segment, summary, blocks)


def _across_versions(versions: list[SegmentSummary]) -> SegmentSummary:
    largest = max(versions, key=lambda version: version.summary.rows)
    merged = merge_windows([version.summary for version in versions])
    parts: dict[datetime, list[OutcomeSummary]] = {}
    for version in versions:
        for start, outcome in version.blocks.items():
            parts.setdefault(start, []).append(outcome)
    blocks = {start: merge_outcomes(outcomes) for start, outcomes in parts.items()}
    return SegmentSummary("champion", "", largest.version_id, largest.segment, merged, blocks)
