"""What the API says of summaries that were made elsewhere."""

from typing import Annotated, Self

from driftline.base.http.responses import ResponseBody, one_of
from inference.registry.models import ModelTask
from monitors.stats.mergeable.sketches import MAX_LEVELS
from monitors.summaries.uploads.layout import VersionLayout
from monitors.summaries.uploads.models import SummaryBatch


class LayoutFeatureOut(ResponseBody, frozen=True):
    """A feature: a number or a text. A number without a centre is `missing` one, or is counted as a text, which another
    version declared it to be."""

    name: str
    is_number: bool
    centre: float | None


class MeasuredFeatureOut(ResponseBody, frozen=True):
    """A number that is made of an image or an embedding, such as `photo.brightness`; without a centre, choose one."""

    name: str
    centre: float | None


class LayoutOut(ResponseBody, frozen=True):
    """What a job has to know to summarise rows of a version. `missing` are numbers without a centre.

    `segment_features` make a segment of each of their values, named `feature:value`.
    `vectors` has the dimension of each vector with parts, such as `photo.norm`, among the features.
    `measured` are made of the version's own image and embedding, as devices do; a summary may lack any.
    """

    model: str
    version: str
    task: Annotated[str, one_of(ModelTask)]
    classes: list[str]
    positive_class: str | None
    features: list[LayoutFeatureOut]
    prediction_centre: float | None
    missing: list[str]
    segment_features: list[str]
    vectors: dict[str, int]
    measured: list[MeasuredFeatureOut]
    max_levels: int

    @classmethod
    def of(cls, found: VersionLayout) -> Self:
        layout, signature = found.layout, found.signature
        return cls(
            model=found.version.model.name,
            version=found.version.version,
            task=layout.task,
            classes=list(layout.classes),
            positive_class=signature.positive_class,
            features=[
                LayoutFeatureOut(name=name, is_number=found.numbers[name], centre=centre)
                for name, centre in layout.features.items()
            ],
            prediction_centre=layout.prediction_centre,
            missing=list(found.missing),
            segment_features=[one for one in found.segments.features if one in layout.features],
            vectors=dict(found.vectors),
            measured=[MeasuredFeatureOut(name, centre) for name, centre in found.measured.items()],
            max_levels=MAX_LEVELS,
        )


class SummaryBatchOut(ResponseBody, frozen=True):
    """A batch of summaries; `is_new` is false where the same one was added before, and nothing was added now."""

    batch: str
    is_new: bool
    windows: int
    rows: int

    @classmethod
    def of(cls, batch: SummaryBatch, *, is_new: bool) -> Self:
        return cls(batch=batch.name, is_new=is_new, windows=batch.windows, rows=batch.rows)
