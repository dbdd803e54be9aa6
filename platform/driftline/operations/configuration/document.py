"""The document as people write it: typed, with unknown keys refused, and taken apart into items."""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

from ninja.errors import ValidationError
from pydantic import Field, create_model
from pydantic import ValidationError as PydanticError

from driftline.base.feature import configured_lists, configured_parts
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.problems import problem_of_fields
from driftline.base.periods import rfc3339
from driftline.operations.configuration.fields import flat
from driftline.operations.configuration.items import (
    ROUTING,
    Items,
    channel_item,
    listed_item,
    model_item,
    part_item,
    part_of_model,
    silence_item,
)
from driftline.operations.configuration.yaml_text import read_document
from monitors.alerts.api import MAX_EVENTS, EventName
from monitors.alerts.channels.webhook.formats import OWN
from monitors.alerts.incidents.labels import MATCHED
from monitors.alerts.routing.document import RoutingIn
from monitors.definitions.api import FeatureExpectation, SegmentCondition
from monitors.definitions.custom_metrics.api import CustomMetricSettings
from monitors.model_settings import ChangedModel
from monitors.rules.api import RuleSettings
from monitors.workflows.settings import WorkflowSettings

type Name = Annotated[str, Field(min_length=1, max_length=200)]

MAX_MODELS = 10_000


class ModelConfig(ChangedModel):
    """A model with how it is watched; `segments` are features of which each value is a segment."""

    workflow: WorkflowSettings = Field(default_factory=WorkflowSettings)  # type: ignore[assignment]  # without secret
    monitors: dict[Literal["drift", "quality", "performance", "service"], str] = Field(
        {}, description="the span of the windows that each kind judges, or auto"
    )
    expectations: dict[Name, FeatureExpectation] = Field({}, max_length=1_000)
    declared_segments: dict[Name, list[SegmentCondition]] = Field({}, max_length=100)
    custom_metrics: dict[Name, CustomMetricSettings] = Field({}, max_length=100)
    rules: dict[Name, RuleSettings] = Field({}, max_length=1_000)


class ChannelConfig(Body):
    """A channel; a target that is a secret is never exported, and where it is left out it stays as it is."""

    kind: str = Field(max_length=20)
    target: str | None = Field(None, max_length=500)
    payload_format: str = Field(OWN, max_length=20)
    template: dict[str, Any] | list[Any] | None = None
    min_severity: str = "warning"
    events: list[EventName] = Field([], max_length=MAX_EVENTS)
    enabled: bool = True


class SilenceConfig(Body):
    """A time in which notifications are muted, of all models where none is named, and of alerts with some labels."""

    model: str | None = None
    matchers: dict[str, str] = Field({}, max_length=len(MATCHED))
    start: Moment
    end: Moment
    reason: str = Field(max_length=200)


class Configuration(Body):
    """A whole document. Of each list that is there it says all; what is not there stays as it is."""

    version: Literal[1] = 1
    channels: dict[Name, ChannelConfig] = Field({}, max_length=1_000)
    routing: RoutingIn | None = Field(None, description="null: the default tree")
    silences: list[SilenceConfig] = Field([], max_length=1_000)
    models: dict[Name, ModelConfig] = Field({}, max_length=MAX_MODELS)

    def plain(self) -> dict[str, Any]:
        """Return what was written, as plain values."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    def items(self) -> Iterator[tuple[tuple[str, str], Items]]:
        """Take the document apart: each of its lists by kind and model, with the items that are in it."""
        if "channels" in self.model_fields_set:
            yield (
                ("channel", ""),
                {channel_item(name): _given(one) for name, one in self.channels.items()},
            )
        if "routing" in self.model_fields_set:
            yield ("routing", ""), {ROUTING: {"tree": self.routing.plain() if self.routing else None}}
        if "silences" in self.model_fields_set:
            silences = [
                (one.model, rfc3339(one.start), rfc3339(one.end), one.reason, one.matchers)
                for one in self.silences
            ]
            yield ("silence", ""), dict(silence_item(*silence) for silence in silences)
        for listed in configured_lists():
            if listed.name in self.model_fields_set:
                given = getattr(self, listed.name)
                yield (
                    (listed.kind, ""),
                    {
                        listed_item(listed.kind, name): flat(listed.given(one), listed.groups)
                        for name, one in given.items()
                    },
                )
        for part in configured_parts():
            if part.name in self.model_fields_set:
                given = getattr(self, part.name)
                settings = {"settings": given.model_dump(mode="json") if given else None}
                yield (part.name, ""), {part_item(part.name): settings}
        for name, model in self.models.items():
            yield ("model", name), {model_item(name): _settings_of(model)}
            for kind, field in (
                ("segment", "declared_segments"),
                ("custom_metric", "custom_metrics"),
                ("expectation", "expectations"),
                ("rule", "rules"),
            ):
                if field in model.model_fields_set:
                    parts = getattr(model, field).items()
                    yield (kind, name), {part_of_model(kind, name, part): _fields(one) for part, one in parts}


@cache
def _schema() -> type[Configuration]:
    """Return the whole document, with what features say in it."""
    parts: dict[str, Any] = {
        part.name: (
            part.schema | None,
            Field(None, description="null: none; its secret is given elsewhere, and stays"),
        )
        for part in configured_parts()
    }
    for listed in configured_lists():
        parts[listed.name] = (dict[Name, listed.schema], Field({}, max_length=1_000))  # type: ignore[name-defined]
    return create_model("Configuration", __base__=Configuration, **parts)


def stored_configuration(document: dict[str, Any]) -> Configuration:
    """Read a document that was applied once; what it says of a feature that is left out by now is passed over."""
    schema = _schema()
    known = {name: value for name, value in document.items() if name in schema.model_fields}
    return schema.model_validate(known)


def read_configuration(text: bytes) -> Configuration:
    """Read a document of YAML, or of JSON, which is YAML too. Raises Problem, which names the place."""
    value = read_document(text)
    try:
        return _schema().model_validate({} if value is None else value)
    except PydanticError as error:
        places = [{**fault, "loc": ("body", "document", *fault["loc"])} for fault in error.errors()]
        raise problem_of_fields(places) from error
    except ValidationError as error:
        raise problem_of_fields(error.errors) from error


def _given(body: Body) -> dict[str, Any]:
    return body.model_dump(mode="json", exclude_unset=True)


def _fields(part: Any) -> dict[str, Any]:
    """Return the fields of a part of a model; of a segment its conditions, of an expectation all that it may say."""
    if isinstance(part, list):
        return {"conditions": [condition.model_dump() for condition in part]}
    return part.model_dump() if isinstance(part, FeatureExpectation) else _given(part)


def _settings_of(model: ModelConfig) -> dict[str, Any]:
    """Return the settings of a model by one name each: what is below the workflow and monitors stands for itself."""
    parts = {"expectations", "declared_segments", "custom_metrics", "rules"}
    given = model.model_dump(mode="json", exclude_unset=True, exclude=parts)
    for group in ("workflow", "monitors"):
        given |= {f"{group}.{name}": value for name, value in given.pop(group, {}).items()}
    if "workflow.rollout" in given:
        given["workflow.rollout"] = model.workflow.rollout.model_dump(mode="json")  # it is stored as a whole
    for name in {"tags", "text_features"} & given.keys():
        given[name] = sorted(given[name])
    if "segments" in given:
        given["segments"] = sorted(set(given["segments"]))
    if "privacy" in given:
        given["privacy"] = {name: policy for name, policy in given["privacy"].items() if policy != "keep"}
    return given
