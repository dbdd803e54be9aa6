"""Writes what serving processes need to know into the plan file, so that they need no database."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import F

from driftline.accounts.models import ApiToken
from inference.registry.endpoints.stored import endpoint_of
from inference.registry.models import Alias, Deployment, Model, PlanGeneration, Version
from inference.serving.plan import (
    Plan,
    PlanCallback,
    PlanCanary,
    PlanModel,
    PlanToken,
    PlanVersion,
    Signature,
    publish_plan,
)

PLAN_FILE = "plan.json"
KEEP_PREVIOUS = timedelta(hours=24)
"""How long the champion of before stays in memory, unless the next promotion comes first."""


def _no_callbacks() -> list[PlanCallback]:
    return []


list_callbacks: Callable[[], list[PlanCallback]] = _no_callbacks
"""Lists the callbacks of all projects. Monitors set it: the registry does not know channels."""


def publish_on_commit() -> None:
    """Publish the plan once the caller's transaction has committed; its change counts as one generation."""
    transaction.on_commit(publish)


def publish() -> int:
    """Write the plan file and return its generation.

    The row lock orders writers: whoever writes last has read everything that was committed before.
    """
    with transaction.atomic():
        PlanGeneration.objects.get_or_create(pk=1)
        PlanGeneration.objects.filter(pk=1).update(value=F("value") + 1)  # takes the row lock until commit
        generation = PlanGeneration.objects.get(pk=1).value
        plan = Plan(generation, _models(), _tokens(), list_callbacks())
        publish_plan(plan, settings.HOME / PLAN_FILE)
    return plan.generation


def _models() -> list[PlanModel]:
    deployments = {
        deployment.model_id: deployment
        for deployment in Deployment.objects.select_related(
            "champion", "previous", "canary"
        ).prefetch_related("shadows")
    }
    versions: dict[int, list[PlanVersion]] = {}
    for version in Version.objects.servable().order_by("pk"):
        versions.setdefault(version.model_id, []).append(_version(version))
    aliases: dict[int, dict[str, str]] = {}
    for alias in Alias.objects.select_related("version").order_by("name"):
        aliases.setdefault(alias.model_id, {})[alias.name] = alias.version.version
    return [
        _model(model, deployments[model.pk], versions.get(model.pk, []), aliases.get(model.pk, {}))
        for model in Model.objects.order_by("pk")
    ]


def _model(
    model: Model, deployment: Deployment, versions: list[PlanVersion], aliases: dict[str, str]
) -> PlanModel:
    """Describe one model; an external champion answers elsewhere, so here nobody does."""
    champion, previous = deployment.champion, deployment.previous
    return PlanModel(
        id=model.pk,
        project_id=model.project_id,
        name=model.name,
        generation=deployment.generation,
        champion=champion.version if champion and not champion.is_external else None,
        shadows=[shadow.version for shadow in deployment.shadows.all()],
        versions=versions,
        aliases=aliases,
        canary=_canary(deployment),
        shadow_shares=deployment.shadow_shares,
        previous=previous.version if previous and not previous.is_external else None,
        previous_until=(deployment.promoted_at + KEEP_PREVIOUS).timestamp()
        if deployment.promoted_at
        else 0.0,
        privacy=model.privacy,
    )


def _canary(deployment: Deployment) -> PlanCanary | None:
    if deployment.canary is None or deployment.canary_weight is None:
        return None
    return PlanCanary(deployment.canary.version, deployment.canary_weight, deployment.canary_key)


def _version(version: Version) -> PlanVersion:
    return PlanVersion(
        id=version.pk,
        version=version.version,
        sha256=version.sha256,
        path=version.path,
        signature=msgspec.convert(version.signature, Signature),
        execution_provider=version.execution_provider,
        endpoint=endpoint_of(version) if version.is_remote else None,
    )


def _tokens() -> list[PlanToken]:
    return [
        PlanToken(
            digest=token.digest,
            prefix=token.prefix,
            project_id=token.project_id,
            scopes=token.scopes,
            expires_at=token.expires_at.timestamp() if token.expires_at else None,
        )
        for token in ApiToken.objects.filter(revoked_at=None).order_by("pk")
    ]
