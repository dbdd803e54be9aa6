"""Writes what serving processes need to know into the plan file, so that they need no database.

A change of one model is written by itself, so that making a thousand models takes a thousand times what one takes.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from driftline.base.accounts.models import ApiToken, Project
from driftline.base.accounts.quotas import describe_full
from driftline.base.clock import now
from inference.registry.endpoints.stored import endpoint_of
from inference.registry.hooks import list_callbacks, list_device_tokens
from inference.registry.intake.runs.value_costs import may_have_value_costs
from inference.registry.models import Alias, Deployment, Model, PlanGeneration, UnpublishedChange, Version
from inference.serving.plan import (
    NONE,
    PROCESS,
    Plan,
    PlanCanary,
    PlanChange,
    PlanModel,
    PlanToken,
    PlanVersion,
    publish_change,
    publish_plan,
)
from inference.signatures import Signature

PLAN_FILE = "plan.json"
OVERDUE_AFTER = timedelta(seconds=5)
"""Whoever changes something publishes it within milliseconds of the commit."""
KEEP_PREVIOUS = timedelta(hours=24)
"""How long the champion of before stays in memory, unless the next promotion comes first."""


def publish_on_commit(model: Model | None = None) -> None:
    """Publish the plan once the caller's transaction has committed; its change counts as one generation.

    Whoever changed one model alone names it: then nothing else is read or written. A process that dies in between
    leaves a row from which `publish_overdue` publishes it.
    """
    UnpublishedChange.objects.create(changed_model=model.pk if model else None)
    transaction.on_commit(publish if model is None else partial(publish_model, model.pk))


def publish() -> int:
    """Write the whole plan file and return its generation."""
    with transaction.atomic():
        generation = _next_generation()
        published = _unpublished()
        _publish_all(generation)
        _close(published)
    return generation


def publish_model(model_id: int) -> int:
    """Add to the plan file what one model is now, and return the generation."""
    with transaction.atomic():
        generation = _next_generation()
        published = _unpublished(changed_model=model_id)
        models = _models([model_id])
        change = PlanChange(generation, models, removed=[] if models else [model_id])
        if not publish_change(change, settings.HOME / PLAN_FILE):
            _publish_all(generation)
        _close(published)
    return generation


def is_published(model: Model) -> bool:
    """Return whether serving processes can know what a model's deployment is."""
    return not UnpublishedChange.objects.filter(changed_model=model.pk).exists()


def _unpublished(**which: Any) -> list[Any]:
    is_late = Q(at__lt=Now() - OVERDUE_AFTER)
    return list(
        UnpublishedChange.objects.filter(**which)
        .annotate(is_late=is_late)
        .values_list("pk", "changed_model", "at", "is_late", named=True)
    )


def _close(published: list[Any]) -> None:
    """Forget changes that the plan file has by now; a canary that had to wait for it answers only from now on."""
    for change in published:
        if change.is_late and change.changed_model is not None:
            late = Deployment.objects.filter(
                model=change.changed_model, canary_since__gte=change.at - OVERDUE_AFTER
            )
            late.update(canary_since=now())
    UnpublishedChange.objects.filter(pk__in=[change.pk for change in published]).delete()


def publish_overdue() -> None:
    """Publish what was changed by a process that died before it could."""
    if UnpublishedChange.objects.filter(at__lt=Now() - OVERDUE_AFTER).exists():
        publish()


def _next_generation() -> int:
    """Take the row lock, which orders writers: whoever writes last has read everything that was committed before."""
    PlanGeneration.objects.get_or_create(pk=1)
    PlanGeneration.objects.filter(pk=1).update(value=F("value") + 1)  # takes the row lock until commit
    return PlanGeneration.objects.get(pk=1).value


def _publish_all(generation: int) -> None:
    tokens, quotas = [*_tokens(), *list_device_tokens()], (_row_quotas(), _full_projects())
    plan = Plan(generation, _models(), tokens, list_callbacks(), *quotas)
    publish_plan(plan, settings.HOME / PLAN_FILE)


def _models(only: Collection[int] | None = None) -> list[PlanModel]:
    """Describe these models, or all; what refers to versions is read before them, and what was made since has its own
    turn."""
    deployments, copied, named = (
        Deployment.objects.filter(model__project__archived_at=None),
        Deployment.shadows.through.objects.all(),
        Alias.objects.all(),
    )
    if only is not None:
        deployments, named = deployments.filter(model__in=only), named.filter(model__in=only)
        copied = copied.filter(deployment__model__in=only)
    deployed = list(deployments.order_by("model_id").values_list(*_OF_A_DEPLOYMENT, named=True))
    shadows: dict[int, list[int]] = {}
    for deployment_id, version_id in copied.order_by("pk").values_list("deployment_id", "version_id"):
        shadows.setdefault(deployment_id, []).append(version_id)
    aliases: dict[int, dict[str, str]] = {}
    for model_id, name, version in named.order_by("name").values_list("model_id", "name", "version__version"):
        aliases.setdefault(model_id, {})[name] = version
    versions = _versions() if only is None else _versions_of(only)
    return [
        _model(row, shadows.get(row.pk, []), versions.get(row.model_id, {}), aliases.get(row.model_id, {}))
        for row in deployed
    ]


SERVED_SETTINGS = ("privacy", "thumbnail_share")
"""The settings of a model that serving processes go by."""
_OF_A_DEPLOYMENT = (
    "pk",
    "model_id",
    "model__project_id",
    "model__name",
    *(f"model__{name}" for name in SERVED_SETTINGS),
    "generation",
    "champion_id",
    "previous_id",
    "promoted_at",
    "shadow_shares",
    "canary_id",
    "canary_weight",
    "canary_key",
)


def _model(
    row: Any, shadows: list[int], versions: Mapping[int, PlanVersion], aliases: dict[str, str]
) -> PlanModel:
    """Describe one model; an external champion answers elsewhere, so here nobody does."""
    names = {pk: version.version for pk, version in versions.items()}
    canary = names.get(row.canary_id)
    return PlanModel(
        id=row.model_id,
        project_id=row.model__project_id,
        name=row.model__name,
        generation=row.generation,
        champion=names.get(row.champion_id),
        shadows=[names[pk] for pk in shadows if pk in names],
        versions=list(versions.values()),
        aliases=aliases,
        canary=PlanCanary(canary, row.canary_weight, row.canary_key) if canary is not None else None,
        shadow_shares=row.shadow_shares,
        previous=names.get(row.previous_id),
        previous_until=(row.promoted_at + KEEP_PREVIOUS).timestamp() if row.promoted_at else 0.0,
        **{name: getattr(row, f"model__{name}") for name in SERVED_SETTINGS},
    )


type _Made = tuple[int, int, datetime, str, str, bytes]
"""A version by its model, id and creation, and what may change of it: where it runs, its endpoint's credential."""

_described: dict[_Made, PlanVersion] = {}
"""The versions that this process published last: of a fleet's plan they are nearly everything.

Were all described anew for each change, the time to create models would grow with the square of their number.
"""


def _versions_of(models: Collection[int]) -> dict[int, dict[int, PlanVersion]]:
    """Describe the servable versions of a few models."""
    found: dict[int, dict[int, PlanVersion]] = {}
    for version in _to_describe(Version.objects.servable().filter(model__in=models)):
        found.setdefault(version.model_id, {})[version.pk] = _version(version)
    return found


def _to_describe(versions: QuerySet[Version]) -> QuerySet[Version]:
    return versions.select_related("model__project").order_by("pk")


def _versions() -> dict[int, dict[int, PlanVersion]]:
    """Describe the servable versions, by the ids of their models and their own."""
    global _described
    rows = Version.objects.servable().values_list(
        "model_id", "pk", "created_at", "execution_provider", "model__project__isolation", "credential"
    )
    made: list[_Made] = [(*row[:-1], bytes(row[-1])) for row in rows]
    known = {one: _described[one] for one in made if one in _described}
    new = _to_describe(Version.objects.filter(pk__in=[one[1] for one in made if one not in known]))
    described = known | {_made(version): _version(version) for version in new}
    _described = dict(sorted(described.items(), key=lambda item: item[1].id))
    found: dict[int, dict[int, PlanVersion]] = {}
    for (model_id, pk, *_), version in _described.items():
        found.setdefault(model_id, {})[pk] = version
    return found


def _made(version: Version) -> _Made:
    return (
        version.model_id,
        version.pk,
        version.created_at,
        version.execution_provider,
        version.model.project.isolation,
        bytes(version.credential),
    )


def _version(version: Version) -> PlanVersion:
    return PlanVersion(
        id=version.pk,
        version=version.version,
        sha256=version.sha256,
        path=version.path,
        signature=msgspec.convert(version.signature, Signature),
        execution_provider=version.execution_provider,
        endpoint=endpoint_of(version) if version.is_remote else None,
        value_costs=_has_value_costs(version.intake_report or {}),
        isolation=_isolation_of(version),
    )


def _isolation_of(version: Version) -> str:
    """Run apart what the project says, and whatever one number in a request may make long, or large."""
    if version.is_remote:
        return NONE
    return PROCESS if _has_value_costs(version.intake_report or {}) else version.model.project.isolation


def _has_value_costs(report: Mapping[str, Any]) -> bool:
    """Read it from the intake's report; one of an older intake names the operators alone."""
    known = report.get("value_costs")
    return may_have_value_costs(report.get("ops", ())) if known is None else bool(known)


def _row_quotas() -> dict[int, int]:
    with_quota = Project.objects.exclude(max_rows_per_second=None).order_by("pk")
    return {project.pk: project.max_rows_per_second or 0 for project in with_quota}


def _full_projects() -> dict[int, str]:
    bounded = Project.objects.exclude(max_bytes=None).order_by("pk")
    return {project.pk: describe_full(project) for project in bounded if project.is_full}


def _tokens() -> list[PlanToken]:
    return [
        PlanToken(
            digest=token.digest,
            prefix=token.prefix,
            project_id=token.project_id,
            scopes=token.scopes,
            expires_at=token.expires_at.timestamp() if token.expires_at else None,
            requests_per_second=token.requests_per_second,
            rows_per_second=token.rows_per_second,
            networks=token.allowed_networks,
            previous_digest=token.previous_digest,
            previous_until=token.previous_until.timestamp() if token.previous_until else 0.0,
        )
        for token in ApiToken.objects.usable().order_by("pk")
    ]
