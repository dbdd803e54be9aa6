"""Sources in a document of configuration: without secrets, and without a consumer group that Driftline chose."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from driftline.base.accounts.models import Project
from driftline.base.feature import ConfiguredList
from driftline.base.http.bodies import Body
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.kinds import SourceSettings, read_settings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.reading.adapters import mapping_of, settings_of
from inference.prediction_log.sources.selectors import get_source, sources
from inference.prediction_log.sources.services import create_source, delete_source, update_source
from inference.registry.selectors import get_model


class SourceConfig(Body):
    """A source; its secrets are given to the API or on its page, and stay as they are."""

    model: str = Field(max_length=100)
    what: Literal["predictions", "labels"]
    settings: SourceSettings
    mapping: SourceMapping = SourceMapping()
    enabled: bool = True


def _given(source: SourceConfig) -> dict[str, Any]:
    given = source.model_dump(mode="json", exclude_unset=True)
    given["settings"] = _without_own_group({"kind": source.settings.kind} | given["settings"])
    return given


def _stored(project: Project) -> Iterator[tuple[str, dict[str, Any]]]:
    for source in sources(project=project).order_by("name"):
        settings = settings_of(source)
        document = settings.model_dump(mode="json")
        if isinstance(settings, KafkaSettings) and settings.has_own_group:
            document["group"] = ""  # it belongs to this installation alone
        yield (
            source.name,
            {
                "model": source.model.name,
                "what": source.what,
                "settings": _without_own_group(document),
                "mapping": mapping_of(source).model_dump(mode="json"),
                "enabled": source.enabled,
            },
        )


def _without_own_group(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "group" or value}


def _create(project: Project, name: str, given: dict[str, Any], actor: str) -> None:
    create_source(
        project=project,
        model=get_model(project=project, name=given["model"]),
        actor=actor,
        name=name,
        what=given["what"],
        settings=read_settings(given["settings"]),
        mapping=SourceMapping.model_validate(given.get("mapping", {})),
        enabled=given.get("enabled", True),
    )


def _change(project: Project, name: str, given: dict[str, Any], actor: str) -> None:
    source = get_source(project=project, name=name)
    changed: dict[str, Any] = {"enabled": given.get("enabled")}
    if "settings" in given:
        changed["settings"] = read_settings(source.settings | given["settings"])
    if "mapping" in given:
        changed["mapping"] = SourceMapping.model_validate(source.mapping | given["mapping"])
    update_source(source=source, actor=actor, **changed)


def _delete(project: Project, name: str, actor: str) -> None:
    delete_source(source=get_source(project=project, name=name), confirm=name, actor=actor)


def _rights(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the right to log what a source brings, where it is made or reads otherwise: it is called what it logs."""
    if any(name.partition(".")[0] in ("what", "settings", "mapping") for name in after):
        return [("what", {**before, **after}["what"])]
    return []


SOURCES = ConfiguredList(
    kind="source",
    name="sources",
    schema=SourceConfig,
    groups=("settings", "mapping"),
    given=_given,
    stored=_stored,
    create=_create,
    change=_change,
    delete=_delete,
    lasting=("model", "what", "settings.kind"),
    rights=_rights,
)
