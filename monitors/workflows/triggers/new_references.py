"""Which reference of a champion somebody replaced; what a run stores with its promotion is no such one."""

from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.workflows.models import Step


def newest_reference(model: Model) -> int:
    """Return the id of the newest reference that took the place of another of the champion; 0 where none did."""
    champion = model.deployment.champion_id if hasattr(model, "deployment") else None
    if champion is None:
        return 0
    ready = Reference.objects.filter(version_id=champion, state=Reference.State.READY).order_by("-pk")
    newest = ready.filter(is_active=True).first()
    earlier = ready.filter(pk__lt=newest.pk) if newest else ready.none()
    if newest is not None and newest.kind != Reference.Kind.FILE:
        earlier = earlier.exclude(until=None)  # a promotion stores a file beside it, which is never in use
    if newest is None or not earlier.exists():
        return 0
    promoted = Step.objects.filter(run__model=model, name="promote", evidence__reference=newest.dataset_id)
    return 0 if newest.dataset_id is not None and promoted.exists() else newest.pk
