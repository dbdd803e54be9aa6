"""The small form of an annotation, and the newest ones of a model, as the model's page shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms

from driftline.web.pages.forms import moment_field
from inference.registry.models import Model
from monitors.annotations.models import LINK_LENGTH, TEXT_LENGTH, Annotation

SHOWN = 5  # on the model's page


class AnnotationForm(forms.Form):
    """A moment or an interval of event time in UTC, a text and a link."""

    start = moment_field("Time (UTC)", "Event time, such as that of a price change.", required=True)
    end = moment_field("Until (UTC)", "Empty: a moment.", required=False)
    text = forms.CharField(max_length=TEXT_LENGTH, label="Text")
    link = forms.CharField(
        required=False, max_length=LINK_LENGTH, label="Link", help_text="http:// or https://, may be empty."
    )

    @classmethod
    def of(cls, annotation: Annotation, data: Mapping[str, Any] | None = None) -> "AnnotationForm":
        """Make the form that changes an annotation."""
        return cls(data, initial={name: getattr(annotation, name) for name in cls.base_fields})


def newest_annotations(model: Model, newest: datetime | None) -> dict[str, Any]:
    """Return the newest annotations of a model, how many there are, and a form that begins at its newest event."""
    stored = model.annotations.order_by("-start", "-pk")
    return {
        "annotations": stored[:SHOWN],
        "annotation_count": stored.count(),
        "annotation_form": AnnotationForm(initial={"start": newest}),
    }
