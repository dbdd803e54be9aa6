"""What the lake adds to the product."""

from datetime import timedelta
from typing import Any

from driftline.base.accounts.models import Project
from driftline.base.feature import ConfiguredPart, PageLink, PagePart, ProductFeature
from driftline.base.work.long_work import leased_kind
from inference.prediction_log.lake.api import router
from inference.prediction_log.lake.days import files_to_write
from inference.prediction_log.lake.health import METRICS, findings
from inference.prediction_log.lake.models import LakeFile
from inference.prediction_log.lake.selectors import content_of_model, find_lake
from inference.prediction_log.lake.services import describe_lake, set_lake, stop_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.store import settings_of
from inference.prediction_log.lake.writing import write_lake_file
from inference.registry.models import Model


def _describe(project: Project) -> dict[str, Any] | None:
    lake = find_lake(project=project)
    return describe_lake(lake) if lake else None


def _set_up(project: Project, settings: LakeSettings, actor: str) -> None:
    set_lake(project=project, settings=settings, actor=actor)


def _stop(project: Project, actor: str) -> None:
    lake = find_lake(project=project)
    if lake is not None:
        stop_lake(lake=lake, confirm=settings_of(lake).location(), actor=actor)


def _content(model: Model) -> dict[str, Any]:
    return {"lake": find_lake(project=model.project), "in_lake": content_of_model(model)}


FEATURE = ProductFeature(
    "lake",
    routers=[router],
    pages="inference.prediction_log.lake.pages.urls",
    settings=[PageLink("lake", "Lake")],
    admin="inference.prediction_log.lake.pages.admin",
    retention_part=PagePart("features/lake/retention.html", _content),
    configured=ConfiguredPart("lake", LakeSettings, _describe, _set_up, _stop),
    metrics=METRICS,
    findings=findings,
    long_work=[
        leased_kind(
            LakeFile,
            write_lake_file,
            waiting=files_to_write,
            since="due_at",
            while_archived=True,
            patience=timedelta(days=1),  # a new lake is filled with the days of years
        )
    ],
)
