"""What a model is and owes, as callers and configurations write it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from driftline.base.http.bodies import Body
from inference.registry.services import MAX_RETENTION_DAYS


class Quality(Body):
    metric: str = Field(max_length=40)
    floor: float


class Objectives(Body):
    """What the model owes its users; default rules and the gate read it."""

    latency_p99_ms: float = Field(default=0.0, gt=0)
    requests_per_second: float = Field(default=0.0, gt=0)
    quality: Quality | None = None
    label_lag_hours: float = Field(default=0.0, ge=0, le=87_600)
    quantile: float = Field(default=0.0, gt=0, lt=1, description="what a regression predicts, if a quantile")


class RetentionChanges(Body):
    retention_days: int | None = Field(default=None, ge=0, le=MAX_RETENTION_DAYS)
    summary_retention_days: int | None = Field(default=None, ge=0, le=MAX_RETENTION_DAYS)
    rows_kept: Literal["all", "none"] = Field(
        "all",
        description="none: each row is dropped once it is summarised, also those that are stored already",
    )


class ModelSettings(RetentionChanges):
    description: str = Field(default="", max_length=500)
    owner: str = Field(
        default="", max_length=200, description="the person or team that answers for the model"
    )
    tags: list[Annotated[str, Field(min_length=1, max_length=50)]] = Field(
        [], max_length=20, description="words to find the model by; they replace the earlier ones"
    )
    autonomy: str = Field("approve", max_length=10)
    objectives: Objectives = Field(default_factory=Objectives)
    privacy: dict[
        Annotated[str, Field(min_length=1, max_length=100)], Literal["keep", "hash", "drop", "summary"]
    ] = Field({}, max_length=1_000)
    schema_policy: str = Field("lenient", max_length=10)
    text_features: list[Annotated[str, Field(min_length=1, max_length=80)]] = Field(
        [], max_length=50, description="features that are texts, of which lengths and scripts are compared"
    )
    thumbnail_share: float = Field(
        0.0, ge=0, le=1, description="share of the images that versions take of which a thumbnail is kept"
    )

    def registry_settings(self) -> dict[str, Any]:
        """Return the sent fields that the registry keeps, as it takes them."""
        kept = {
            "name",
            "task",
            "description",
            "owner",
            "tags",
            "autonomy",
            "objectives",
            "retention_days",
            "summary_retention_days",
            "privacy",
            "schema_policy",
            "rows_kept",
            "text_features",
            "thumbnail_share",
            "positive_class",
        }
        return self.model_dump(include=kept & self.model_fields_set, exclude_unset=True)
