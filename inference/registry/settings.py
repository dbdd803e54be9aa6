"""What a model is and owes: each setting once, with its bounds, the words of pages, and who may change it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from driftline.base.accounts.access.scopes import Scope, add_rights
from driftline.base.http.bodies import Body
from driftline.base.http.settings_schema import OneOf
from inference.registry.models import Autonomy, RowsKept, SchemaPolicy

MAX_RETENTION_DAYS = 36_500
_TAG = re.compile(r"[\w][\w.:/-]{0,49}")


def check_tags(tags: list[str]) -> list[str]:
    """Return tags sorted, each once. Raises ValueError for what cannot be one."""
    kept = sorted({tag.strip() for tag in tags})
    for tag in kept:
        if not _TAG.fullmatch(tag):
            raise ValueError(
                f"{tag[:64]!r} is not a tag; use 1 to 50 letters, digits, dots, dashes, colons, slashes or _"
            )
    return kept


def _each_once(names: list[str]) -> list[str]:
    return sorted({name.strip() for name in names} - {""})


class Quality(Body):
    metric: str = Field(max_length=40)
    floor: float


class Objectives(Body):
    """What the model owes its users; default rules and the gate read it."""

    label_lag_hours: float = Field(default=0.0, ge=0, le=87_600, title="Labels arrive within (hours)")
    latency_p99_ms: float = Field(default=0.0, gt=0, title="99 % of answers within (ms)")
    requests_per_second: float = Field(default=0.0, gt=0, title="Requests a second")
    quality: Quality | None = Field(default=None, title="Quality is measured by")
    quantile: float = Field(
        default=0.0,
        gt=0,
        lt=1,
        title="Predicted quantile",
        description="what a regression predicts, if a quantile",
    )


class AboutSettings(Body):
    """What a model is, and who answers for it."""

    description: Annotated[str, Scope.WRITE] = Field(
        "", max_length=500, description="What it predicts, in words."
    )
    owner: Annotated[str, AfterValidator(str.strip), Scope.WRITE] = Field(
        "",
        max_length=200,
        description="The person or team that answers for it; Settings, Teams lists the models of each team.",
    )
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=50)]], AfterValidator(check_tags), Scope.WRITE
    ] = Field([], max_length=20, description="Words to find it by; they replace the earlier ones.")
    schema_policy: Annotated[str, OneOf(SchemaPolicy), Scope.WRITE] = Field(
        SchemaPolicy.LENIENT.value,
        title="Items with other features than the version declares",
        description="A version that is served here takes no others in either case.",
    )
    text_features: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=80)]], AfterValidator(_each_once), Scope.WRITE
    ] = Field(
        [],
        max_length=50,
        title="Features that are texts",
        description="Their lengths and scripts are compared, not their values.",
    )


class RetentionChanges(Body):
    """What is kept of the rows of a model, and for how long."""

    retention_days: Annotated[int | None, Scope.ADMIN] = Field(
        None, ge=0, le=MAX_RETENTION_DAYS, title="Keep rows for (days)"
    )
    summary_retention_days: Annotated[int | None, Scope.ADMIN] = Field(
        None, ge=0, le=MAX_RETENTION_DAYS, title="Keep summaries and points for (days)"
    )
    rows_kept: Annotated[str, OneOf(RowsKept), Scope.ADMIN] = Field(
        RowsKept.ALL.value,
        title="Rows that are kept",
        description="Without rows there are drift, data quality and estimates, and no labels, runs, exports, "
        "comparisons of requests or look at a prediction; those that are stored already are dropped too.",
    )


class KeepingSettings(RetentionChanges):
    """The same, with what is kept of images."""

    thumbnail_share: Annotated[float, Scope.ADMIN] = Field(
        0.0,
        ge=0,
        le=1,
        title="Keep a thumbnail of images (share)",
        description="0 keeps none, 0.1 one in ten, 1 all: 32 pixels with the row, for as long. Only versions that "
        "declare their input an image have any, from now on.",
    )


class ModelSettings(KeepingSettings, AboutSettings):
    """All of them, with what decides what is deployed, and what is stored of features."""

    autonomy: Annotated[str, OneOf(Autonomy), Scope.DEPLOY] = Autonomy.APPROVE.value
    objectives: Annotated[Objectives, Scope.DEPLOY] = Field(default_factory=Objectives)
    privacy: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Literal["keep", "hash", "drop", "summary"]],
        Scope.ADMIN,
    ] = Field({}, max_length=1_000)

    def registry_settings(self) -> dict[str, Any]:
        """Return the sent fields that the registry keeps, as it takes them."""
        kept = {"name", "task", "positive_class", *ModelSettings.model_fields}
        return self.model_dump(include=kept & self.model_fields_set, exclude_unset=True)


add_rights("model", ModelSettings)
