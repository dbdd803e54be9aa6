"""Annotations as the API writes them."""

from typing import Self

from driftline.base.http.responses import ResponseBody, Time
from monitors.annotations.models import Annotation


class AnnotationOut(ResponseBody, frozen=True):
    """A note on a model's axis of event time; without an `end` it is of a moment."""

    id: int
    start: Time
    end: Time | None
    text: str
    link: str
    created_by: str
    created_at: Time

    @classmethod
    def of(cls, annotation: Annotation) -> Self:
        return cls(
            id=annotation.pk,
            start=annotation.start,
            end=annotation.end,
            text=annotation.text,
            link=annotation.link,
            created_by=annotation.created_by,
            created_at=annotation.created_at,
        )
