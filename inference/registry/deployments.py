"""Writes of deployments: which version answers, which ones shadow it, and the canary."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from inference.registry.contract.differences import contract_difference
from inference.registry.hooks import newest_event
from inference.registry.models import (
    Deployment,
    DeploymentChange,
    Model,
    Version,
)
from inference.registry.plan.canary import CanaryWanted, describe_canary
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.selectors import get_version
from inference.registry.signals import (
    deployment_changed,
)
from inference.registry.validation import check_answers


class UnableToPromote(Problem):
    """The version cannot answer in the champion's place."""


def set_shadows(
    *, model: Model, versions: list[str], expected_generation: int | None, actor: str, reason: str = ""
) -> Deployment:
    """Choose the versions that get a copy of each request."""
    return change_deployment(
        model=model, shadows=versions, expected_generation=expected_generation, actor=actor, reason=reason
    )


def change_deployment(
    *,
    model: Model,
    expected_generation: int | None,
    actor: str,
    reason: str = "",
    shadows: list[str] | None = None,
    shadow_shares: dict[str, float] | None = None,
    canary: CanaryWanted | None = None,
    without_canary: bool = False,
) -> Deployment:
    """Change the shadows, the share of rows that each gets, and the canary; what is None stays as it is.

    Raises Problem: 422 where the champion is named as its own shadow or canary, `incompatible_signature` (409)
    for a canary that the champion's callers could not call the same way, 412 at another generation.
    """
    copied = None if shadows is None else [servable_version(model, name) for name in shadows]
    answering = None if canary is None else servable_version(model, canary.version)
    if answering is not None:
        check_answers(answering)
    with transaction.atomic():
        deployment = locked_deployment(model, expected_generation)
        _refuse_archived([*(copied or []), *([answering] if answering else [])])
        before = _state(deployment)
        if copied is not None:
            _set_shadows(deployment, copied)
        if shadow_shares is not None:
            deployment.shadow_shares = _checked_shares(deployment, shadow_shares)
        if without_canary:
            _clear_canary(deployment)
        if canary is not None and answering is not None:
            _set_canary(deployment, answering, canary)
        if _state(deployment) != before:
            kind = "canary" if before["canary"] != _state(deployment)["canary"] else "shadows"
            _record_change(deployment, before, kind=kind, actor=actor, reason=reason)
            publish_on_commit(model)
    return deployment


def _set_shadows(deployment: Deployment, shadows: list[Version]) -> None:
    if deployment.champion in shadows:
        raise invalid("/shadows", f"Version {deployment.champion} is the champion; it cannot shadow itself.")
    deployment.shadows.set(shadows)
    names = {shadow.version for shadow in shadows}
    deployment.shadow_shares = {
        name: share for name, share in deployment.shadow_shares.items() if name in names
    }


def _checked_shares(deployment: Deployment, shares: dict[str, float]) -> dict[str, float]:
    names = set(deployment.shadows.values_list("version", flat=True))
    for name in shares.keys() - names:
        raise invalid(
            f"/shadow_shares/{name[:64]}", f"Version {name[:64]!r} is no shadow; add it to 'shadows'."
        )
    return {name: share for name, share in shares.items() if share < 1}


def _set_canary(deployment: Deployment, version: Version, wanted: CanaryWanted) -> None:
    if deployment.champion is None or deployment.champion.is_external:
        raise UnableToPromote(
            409, "no_champion", "A canary takes a share of a champion's requests; promote one."
        )
    if version == deployment.champion:
        raise invalid(
            "/canary/version", f"Version {version.version} is the champion; it answers all already."
        )
    _check_same_contract(deployment.champion, version)
    same = (version, wanted.weight, wanted.key)
    if same == (deployment.canary, deployment.canary_weight, deployment.canary_key):
        return
    deployment.canary, deployment.canary_weight, deployment.canary_key = same
    deployment.canary_since = now()


def _clear_canary(deployment: Deployment) -> None:
    deployment.canary = deployment.canary_weight = deployment.canary_since = None
    deployment.canary_key = "subject"


def promote(
    *, model: Model, version: str, expected_generation: int | None, actor: str, reason: str = ""
) -> Deployment:
    """Make `version` answer from now on; the previous champion stays ready for a rollback."""
    promoted = servable_version(model, version)
    check_answers(promoted)
    with transaction.atomic():
        deployment = locked_deployment(model, expected_generation)
        _refuse_archived([promoted])
        if deployment.champion != promoted:
            _check_same_contract(deployment.champion, promoted)
            let_answer(deployment, kind="promote", actor=actor, reason=reason, champion=promoted)
            publish_on_commit(model)
    return deployment


def rollback(*, model: Model, expected_generation: int | None, actor: str, reason: str = "") -> Deployment:
    """Make the previous champion answer again."""
    with transaction.atomic():
        deployment = locked_deployment(model, expected_generation)
        if deployment.previous is None:
            raise UnableToPromote(409, "no_previous_champion", "No champion came before this one.")
        let_answer(deployment, kind="rollback", actor=actor, reason=reason, champion=deployment.previous)
        publish_on_commit(model)
    return deployment


def servable_version(model: Model, name: str) -> Version:
    """Find a version of this model that can answer here."""
    version = get_version(model=model, version=name)
    if version.is_external:
        raise UnableToPromote(
            409, "version_has_no_artifact", f"Version {name} is external; upload its ONNX first."
        )
    return version


def _refuse_archived(versions: Iterable[Version]) -> None:
    """Raise Problem where a version is archived by now: `archive_version` waits for the same lock."""
    archived = Version.objects.filter(pk__in=[one.pk for one in versions]).exclude(archived_at=None).first()
    if archived is not None:
        raise UnableToPromote(
            409,
            "version_archived",
            f"Version {archived.version} is archived; restore it before it is deployed.",
        )


def _check_same_contract(champion: Version | None, promoted: Version) -> None:
    """Refuse a version that the champion's callers could not call the same way, or would read the wrong way."""
    if champion is None or champion.signature is None or promoted.signature is None:
        return
    difference, values = contract_difference(champion.signature, promoted.signature)
    if difference:
        raise UnableToPromote(
            409,
            "incompatible_signature",
            f"Version {promoted.version} has {difference} than the champion {champion.version}: {values}.",
        )


def locked_deployment(model: Model, expected_generation: int | None) -> Deployment:
    deployment = (
        Deployment.objects.select_for_update(of=("self",))
        .select_related("champion", "previous", "canary")
        .get(model=model)
    )
    if expected_generation is not None and deployment.generation != expected_generation:
        raise Problem(
            412,
            "precondition_failed",
            f"The deployment is at generation {deployment.generation}, not {expected_generation}; read it again.",
        )
    return deployment


def let_answer(deployment: Deployment, *, kind: str, actor: str, reason: str, champion: Version) -> None:
    """Make a version answer, with its audit rows. A canary ends with the champion that it was compared with."""
    before = _state(deployment)
    deployment.previous, deployment.champion = deployment.champion, champion
    deployment.promoted_at = now()
    deployment.shadows.remove(champion)
    deployment.shadow_shares = {
        name: share for name, share in deployment.shadow_shares.items() if name != champion.version
    }
    _clear_canary(deployment)
    _record_change(deployment, before, kind=kind, actor=actor, reason=reason)


def _record_change(
    deployment: Deployment, before: dict[str, Any], *, kind: str, actor: str, reason: str
) -> None:
    """Save a deployment as its next generation, with the mark on every time axis and the audit row.

    The mark is at the newest event: charts show event time, which may be far from the clock.
    """
    deployment.generation += 1
    deployment.save()
    after = _state(deployment)
    change = DeploymentChange.objects.create(
        model=deployment.model,
        generation=deployment.generation,
        kind=kind,
        before=before,
        after=after,
        event_time=newest_event(deployment.model) or now(),
        actor=actor,
        reason=reason,
    )
    record_audit(
        project=deployment.model.project,
        actor=actor,
        action=f"deployment.{kind}",
        subject=deployment.model.name,
        before=before,
        after=after,
    )
    deployment_changed.send(sender=Deployment, deployment=deployment, change=change)


def _state(deployment: Deployment) -> dict[str, Any]:
    return {
        "champion": deployment.champion.version if deployment.champion else None,
        "shadows": sorted(deployment.shadows.values_list("version", flat=True)),
        "shadow_shares": dict(deployment.shadow_shares),
        "canary": describe_canary(deployment),
        "generation": deployment.generation,
    }
