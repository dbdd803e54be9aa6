"""Which of a model's versions are served: the same message in Triton's and TensorFlow Serving's settings."""

from collections.abc import Sequence

from inference.registry.migration.found import FoundVersion, Left
from inference.registry.migration.protobuf_text import Message


def served_by(policy: Message, there: Sequence[FoundVersion]) -> list[FoundVersion]:
    """Choose of the versions, the highest first, those that the policy serves: the latest where it says nothing."""
    if "all" in policy.fields:
        return list(there)
    if "specific" in policy.fields:
        wanted = {str(number) for number in policy.message("specific").numbers("versions")}
        return [version for version in there if version.name in wanted]
    latest = policy.message("latest").numbers("num_versions")
    return list(there[: max(latest[-1], 1) if latest else 1])


def not_served(there: Sequence[FoundVersion], served: Sequence[FoundVersion]) -> list[Left]:
    """Tell which versions stay behind because the policy does not serve them."""
    names = [version.name for version in there if version not in served]
    if not names:
        return []
    return [
        Left(f"version {', '.join(names[:20])}", "its policy does not serve it; upload it where you need it")
    ]
