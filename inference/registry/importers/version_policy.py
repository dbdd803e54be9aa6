"""Which of a model's versions are served: the same message in Triton's and TensorFlow Serving's settings."""

from collections.abc import Sequence

from inference.registry.importers.protobuf_text import ProtobufMessage
from inference.registry.importers.source_model import NotImported, SourceVersion


def served_by(policy: ProtobufMessage, there: Sequence[SourceVersion]) -> list[SourceVersion]:
    """Choose of the versions, the highest first, those that the policy serves: the latest where it says nothing."""
    if "all" in policy.fields:
        return list(there)
    if "specific" in policy.fields:
        wanted = {str(number) for number in policy.message("specific").numbers("versions")}
        return [version for version in there if version.name in wanted]
    latest = policy.message("latest").numbers("num_versions")
    return list(there[: max(latest[-1], 1) if latest else 1])


def not_served(there: Sequence[SourceVersion], served: Sequence[SourceVersion]) -> list[NotImported]:
    """Return which versions stay behind because the policy does not serve them."""
    names = [version.name for version in there if version not in served]
    if not names:
        return []
    return [
        NotImported(
            f"version {', '.join(names[:20])}", "its policy does not serve it; upload it where you need it"
        )
    ]
