"""The event of a release to devices that was aborted, by which people hear of it."""

from inference.edge.models import Release
from monitors.feed.kinds import RELEASE_ABORTED
from monitors.feed.services import record_event


def record_abortion(release: Release, actor: str) -> None:
    """Record that devices go back to the version of before, and why."""
    group, version = release.group, release.version.version
    record_event(
        project=group.project,
        model=group.model,
        kind=RELEASE_ABORTED,
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
