"""What the API answers about a version's variants."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.optimiser.models import Optimisation, Variant
from monitors.optimiser.selectors import title_of


class OptimisationOut(ResponseBody, frozen=True):
    """How far the building and measuring of a version's variants is; `progress` is from 0 to 1."""

    state: Annotated[str, one_of(Optimisation.State)]
    progress: float
    error: str | None
    requested_by: str
    requested_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, optimisation: Optimisation, progress: float) -> Self:
        return cls(
            state=optimisation.state,
            progress=round(progress, 4),
            error=optimisation.error or None,
            requested_by=optimisation.requested_by,
            requested_at=optimisation.requested_at,
            finished_at=optimisation.finished_at,
        )


class VariantOut(ResponseBody, frozen=True):
    """A variant of a version, and what it gains and costs; sizes in bytes."""

    kind: str
    title: str
    status: Annotated[str, one_of(Variant.Status)]
    reason: str
    sha256: str | None
    size: int | None
    original_size: int
    measured: dict[str, Any] | None
    machine: str
    made_at: Time
    registered_as: str | None

    @classmethod
    def of(cls, variant: Variant) -> Self:
        """Write a variant of a queryset that has selected its version and the one that it became."""
        return cls(
            kind=variant.kind,
            title=title_of(variant),
            status=variant.status,
            reason=variant.reason,
            sha256=variant.sha256 or None,
            size=variant.size,
            original_size=variant.version.size,
            measured=variant.measured,
            machine=variant.machine,
            made_at=variant.made_at,
            registered_as=variant.registered.version if variant.registered else None,
        )


class VariantsOut(ResponseBody, frozen=True):
    """All variants of a version; `optimisation` is null where nobody has asked for one."""

    items: list[VariantOut]
    next: None
    optimisation: OptimisationOut | None
