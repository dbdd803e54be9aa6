"""What the forms of sources share: a name, a model, and what of a message becomes what of a row."""

from typing import Any, ClassVar

from django import forms

from driftline.base.accounts.models import Project
from driftline.web.pages.forms import explain_settings
from inference.prediction_log.sources.kinds import SourceSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.registry.models import Model

ENVELOPES = (
    ("json", "JSON objects, read by the paths below"),
    ("log", "Items of the logging API, as they are"),
    ("kserve", "CloudEvents of KServe's logger"),
    ("v2", "Requests and responses of the Open Inference Protocol (MLServer, Seldon)"),
)
_PATHS = ("id", "timestamp", "version", "features", "prediction", "probabilities", "subject", "label")
_PLAIN = ("envelope", "default_version", *_PATHS)
_MAPPING = (*_PLAIN, "tags")


class SourceForm(forms.Form):
    """What the forms of all kinds share; each kind adds where to read, and `read_settings`."""

    kind: ClassVar[str]
    where_to_read: ClassVar[tuple[str, ...]]
    """The fields of the kind."""
    secret_after: ClassVar[str]

    name = forms.CharField(max_length=100)
    model = forms.ChoiceField()
    what = forms.ChoiceField(choices=Source.What.choices, label="The messages hold")
    secret = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea({"rows": 2, "spellcheck": "false", "autocomplete": "off", "class": "code"}),
        help_text="Kept encrypted and not shown again. Empty: what is stored stays.",
    )
    envelope = forms.ChoiceField(choices=ENVELOPES, label="Format")
    id = forms.CharField(
        max_length=200,
        required=False,
        label="Path of the id",
        help_text="Dotted, such as data.customer.id; $key, $time and $position are the message's own.",
    )
    timestamp = forms.CharField(max_length=200, required=False, label="Path of the time")
    version = forms.CharField(max_length=200, required=False, label="Path of the version")
    default_version = forms.CharField(
        max_length=64, required=False, label="Version where a message names none"
    )
    features = forms.CharField(
        max_length=200,
        required=False,
        label="Path of the features",
        help_text="An object; empty: features, or all fields that are nothing else.",
    )
    prediction = forms.CharField(max_length=200, required=False, label="Path of the prediction")
    probabilities = forms.CharField(max_length=200, required=False, label="Path of the probability")
    subject = forms.CharField(max_length=200, required=False, label="Path of the subject")
    tags = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 3, "spellcheck": "false", "class": "code"}),
        label="Segment fields",
        help_text="A tag and its path a line, such as: region data.customer.region",
    )
    label = forms.CharField(
        max_length=200,
        required=False,
        label="Path of the label",
        help_text="Of labels. In predictions it is no feature: add a source of labels that reads it.",
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        where = list(self.where_to_read)
        where.insert(where.index(self.secret_after) + 1, "secret")
        self.order_fields(["name", "model", "what", *where, *_MAPPING])
        names = Model.objects.of_project(project).filter(archived_at=None).order_by("name")
        self.fields["model"].choices = [(name, name) for name in names.values_list("name", flat=True)]  # type: ignore[attr-defined]

    @property
    def settings_fields(self) -> list[forms.BoundField]:
        """Return the fields that say what is read, and where."""
        return [self[name] for name in self.fields if name not in _MAPPING]

    @property
    def mapping_fields(self) -> list[forms.BoundField]:
        """Return the fields that say what of a message becomes what of a row."""
        return [self[name] for name in self.fields if name in _MAPPING]

    def clean_tags(self) -> dict[str, str]:
        """Read the lines of the segment fields."""
        lines = [line.split() for line in self.cleaned_data["tags"].splitlines() if line.strip()]
        if wrong := next((line for line in lines if len(line) != 2), None):
            raise forms.ValidationError(f"'{' '.join(wrong)[:60]}' is not a tag and its path.")
        return dict(lines)

    def read_settings(self) -> SourceSettings:
        """Return where to read; raises ValueError with what pydantic says."""
        raise NotImplementedError

    def read_mapping(self, before: SourceMapping | None = None) -> SourceMapping:
        """Return the mapping; what the form does not show stays as it was before."""
        values = {name: self.cleaned_data[name] for name in _PLAIN}
        kept = before.model_dump() if before else {}
        return SourceMapping.model_validate(kept | values | {"tags": self.cleaned_data["tags"]})

    def refuse(self, error: Exception) -> None:
        """Show at its field what was refused."""
        explain_settings(self, error)
