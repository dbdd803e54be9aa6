"""The event of a release that was aborted, by which people hear of it."""

from inference.edge.models import Release
from inference.registry.hooks import record_event


def record_abortion(release: Release, actor: str) -> None:
    """Record that devices go back to the earlier version, and why."""
    group, version = release.group, release.version.version
    record_event(
        project=group.project,
        model=group.model,
        kind="release.aborted",
        subject=f"release-{release.pk}",
        actor=actor,
        text=f"{group.model.name}: the release of version {version} to {group.name} was aborted: {release.reason}",
        path=f"/devices/groups/{group.pk}",
        facts=[("Group", group.name), ("Version", version), ("Reason", release.reason)],
        data={
            "release": {
                "id": release.pk,
                "group": group.name,
                "version": version,
                "percent": release.percent,
                "reason": release.reason,
            }
        },
    )
