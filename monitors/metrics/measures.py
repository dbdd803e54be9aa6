"""The registry of measures: which functions measure which monitor's metrics, and from what.

A new measure is a file with a function like these, a line here, and the names of its metrics in `catalogue.py`. Four
read more than a window and run after it is stored: the volume beside earlier windows (`volume.py`), features together
once a day has ended (`rows/joint.py`), changes of the error (`change_points.py`), and what successive windows say
together (`evidence.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitors.definitions.models import MonitorKind
from monitors.metrics.answers.custom import measure_custom, measure_custom_of_labels
from monitors.metrics.answers.estimation import measure_estimates
from monitors.metrics.answers.fairness import measure_gaps
from monitors.metrics.answers.labels import measure_labels
from monitors.metrics.answers.performance import measure_performance
from monitors.metrics.catalogue import Measure
from monitors.metrics.context import MeasuredSummary, MeasuredWindow
from monitors.metrics.inputs.drift import measure_drift
from monitors.metrics.inputs.quality import measure_quality
from monitors.metrics.store.points import Point, Population
from monitors.metrics.traffic.request_metrics import measure_requests
from monitors.metrics.traffic.service_level import measure_service_level

type SummaryMeasure = Callable[[MeasuredSummary], list[Point]]
"""Measures the summary of a segment in one window; no points where it does not apply."""

type WindowMeasure = Callable[[MeasuredWindow], list[tuple[Population, Point]]]
"""Measures a window as a whole."""


@dataclass(frozen=True)
class MonitorMeasures:
    """The measures of one kind of monitor, each with what it writes; where one fails, the point of `headline` is an
    error in place of them all.

    `feature_headline` is the metric that is an error of a feature which alone cannot be measured, and
    `measures_every_hour` says whether hours are measured where the monitor judges days.
    """

    measures: Mapping[SummaryMeasure, tuple[Measure, ...]]
    headline: str
    feature_headline: str = ""
    measures_every_hour: bool = False

    @property
    def written(self) -> set[Measure]:
        """What is stored of what they measure."""
        return {measure for measures in self.measures.values() for measure in measures}


SUMMARY_MEASURES: Mapping[MonitorKind, MonitorMeasures] = {
    MonitorKind.SERVICE: MonitorMeasures(
        {measure_service_level: (Measure.SERVICE,), measure_custom: (Measure.CUSTOM,)},
        headline="count",
        measures_every_hour=True,
    ),
    MonitorKind.PERFORMANCE: MonitorMeasures(
        {
            measure_performance: (Measure.PERFORMANCE, Measure.CLASSES),
            measure_estimates: (Measure.ESTIMATES,),
            measure_labels: (Measure.LABELS,),
            measure_custom_of_labels: (Measure.CUSTOM_OF_LABELS,),
        },
        headline="label_coverage",
        measures_every_hour=True,
    ),
    MonitorKind.QUALITY: MonitorMeasures(
        {measure_quality: (Measure.QUALITY,)}, headline="faulty_features", feature_headline="missing_share"
    ),
    MonitorKind.DRIFT: MonitorMeasures(
        {measure_drift: (Measure.DRIFT,)}, headline="drifted_features", feature_headline="psi"
    ),
}

WINDOW_MEASURES: tuple[WindowMeasure, ...] = (measure_gaps, measure_requests)
