"""What the API answers about versions, aliases and deployments."""

from collections.abc import Container, Iterable
from typing import Any, Self

from msgspec import UNSET, UnsetType

from driftline.base.http.responses import ResponseBody, Time
from inference.registry.models import Alias, Deployment, Version
from inference.registry.plan.plan_uptake import InProcess, PlanUptake, serving_of
from inference.signatures import Signature


# -- versions ----------------------------------------------------------------------------------------------------------
class ServingProcessOut(ResponseBody, frozen=True):
    """How one serving process serves a version: the provider that runs it, else why it could not be loaded.

    `host` names the serving host, and is null on this machine.
    """

    pid: int
    host: str | None
    provider: str | None
    fallback: str | None
    nodes: dict[str, int]
    failure: str | None

    @classmethod
    def of(cls, process: InProcess) -> Self:
        return cls(
            pid=process.process.pid,
            host=process.process.host,
            provider=process.provider,
            fallback=process.fallback,
            nodes=process.nodes,
            failure=process.failure,
        )


class VersionOut(ResponseBody, frozen=True):
    """A version: an artifact, an endpoint of another server, or, where `is_external`, one that is only logged."""

    version: str
    sha256: str | None
    size: int
    signature: Signature | None
    intake_report: dict[str, Any] | None
    lineage: dict[str, Any] | None
    aliases: list[str]
    created_at: Time
    created_by: str
    is_external: bool
    endpoint: dict[str, Any] | None
    execution_provider: str
    quarantined: bool
    archived_at: Time | None
    serving: list[ServingProcessOut]

    @classmethod
    def of(cls, version: Version, reports: Iterable[dict[str, Any]], held_back: Container[int]) -> Self:
        """Write a version, and how the serving processes of these `reports` serve it.

        `held_back` holds the ids of the versions that are quarantined because they crash.
        """
        return cls(
            version=version.version,
            sha256=version.sha256 or None,
            size=version.size,
            signature=version.signature,
            intake_report=version.intake_report,
            lineage=version.lineage,
            aliases=sorted(alias.name for alias in version.aliases.all()),
            created_at=version.created_at,
            created_by=version.created_by,
            is_external=version.is_external,
            endpoint=version.endpoint and {**version.endpoint, "has_credential": bool(version.credential)},
            execution_provider=version.execution_provider,
            quarantined=version.pk in held_back,
            archived_at=version.archived_at,
            serving=[
                ServingProcessOut.of(process)
                for process in serving_of(version, reports)
                if process.provider or process.failure
            ],
        )


class AliasOut(ResponseBody, frozen=True):
    """A name that people gave to a version."""

    alias: str
    version: str

    @classmethod
    def of(cls, alias: Alias) -> Self:
        return cls(alias=alias.name, version=alias.version.version)


# -- deployments -------------------------------------------------------------------------------------------------------
class SplitOut(ResponseBody, frozen=True):
    """How many keys each side answered; `mismatch` where that does not fit the canary's weight."""

    champion: int
    canary: int
    p_value: float | None
    mismatch: bool


class CanaryOut(ResponseBody, frozen=True):
    """The version that answers a share `weight` of the keys, and how the traffic was split since."""

    version: str
    weight: float
    key: str
    since: Time
    split: SplitOut


class ReportedProcessOut(ResponseBody, frozen=True):
    """A serving process that serves a generation; `host` is null on this machine."""

    pid: int
    host: str | None
    generation: int


class MissingProcessOut(ResponseBody, frozen=True):
    """A serving process that does not serve the newest generation yet, and why."""

    pid: int
    host: str | None
    reason: str


class DeploymentOut(ResponseBody, frozen=True):
    """Which version answers, which get copies, and the canary. After a change also which processes have it."""

    champion: str | None
    previous: str | None
    shadows: list[str]
    shadow_shares: dict[str, float]
    canary: CanaryOut | None
    generation: int
    reported: list[ReportedProcessOut] | UnsetType = UNSET
    missing: list[MissingProcessOut] | UnsetType = UNSET

    @classmethod
    def of(cls, deployment: Deployment, canary: CanaryOut | None, uptake: PlanUptake | None = None) -> Self:
        shadows = sorted(deployment.shadows.values_list("version", flat=True))
        return cls(
            champion=deployment.champion.version if deployment.champion else None,
            previous=deployment.previous.version if deployment.previous else None,
            shadows=shadows,
            shadow_shares={**dict.fromkeys(shadows, 1.0), **deployment.shadow_shares},
            canary=canary,
            generation=deployment.generation,
            reported=UNSET
            if uptake is None
            else [
                ReportedProcessOut(pid=process.pid, host=process.host, generation=deployment.generation)
                for process in uptake.reported
            ],
            missing=UNSET
            if uptake is None
            else [
                MissingProcessOut(pid=process.pid, host=process.host, reason=reason)
                for process, reason in uptake.missing.items()
            ],
        )
