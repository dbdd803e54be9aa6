"""Groups that a provider keeps, with their members."""

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from driftline.base.accounts.models import DirectoryGroup, User
from driftline.base.accounts.services import record_audit
from driftline.sign_in.directory.documents import SentGroup, read_group
from driftline.sign_in.directory.patches import patched
from driftline.sign_in.directory.people import apply_groups, users_of
from driftline.sign_in.directory.refusals import DirectoryRefusal, no_such, wrong_value
from driftline.sign_in.single_sign_on.configuration import ProviderSettings

MAX_GROUPS = 5_000


def groups_of(provider: ProviderSettings) -> QuerySet[DirectoryGroup]:
    """List the groups of a provider."""
    return DirectoryGroup.objects.filter(provider=provider.id).order_by("pk")


def get_group(provider: ProviderSettings, group_id: int) -> DirectoryGroup:
    """Return one of them; raises `DirectoryRefusal` 404."""
    group = groups_of(provider).filter(pk=group_id).first()
    if group is None:
        raise no_such("group")
    return group


def create_group(provider: ProviderSettings, sent: SentGroup) -> DirectoryGroup:
    """Make a group with its members; raises `DirectoryRefusal` 409 for a name that is taken."""
    with transaction.atomic():
        _refuse_taken(provider, sent, None)
        if groups_of(provider).count() >= MAX_GROUPS:
            raise DirectoryRefusal(409, f"A provider keeps at most {MAX_GROUPS:,} groups here.")
        group = DirectoryGroup.objects.create(
            provider=provider.id, display_name=sent.display_name.strip(), external_id=sent.external_id or ""
        )
        _record(provider, group, "group.create")
        _apply_to(provider, _set_members(provider, group, sent.member_ids))
    return group


def update_group(provider: ProviderSettings, group_id: int, sent: SentGroup) -> DirectoryGroup:
    """Make a group as the provider describes it; the roles of everybody who came or left follow at once."""
    with transaction.atomic():
        group = get_group(provider, group_id)
        groups_of(provider).select_for_update().get(pk=group.pk)
        _refuse_taken(provider, sent, group)
        is_renamed = group.display_name != sent.display_name.strip()
        if is_renamed:
            _record(provider, group, "group.rename", name=sent.display_name.strip())
        group.display_name, group.external_id = sent.display_name.strip(), sent.external_id or ""
        group.save(update_fields=["display_name", "external_id"])
        changed = _set_members(provider, group, sent.member_ids)
        _apply_to(provider, changed | _members(group) if is_renamed else changed)
    return group


def patch_group(provider: ProviderSettings, group_id: int, body: dict[str, Any]) -> DirectoryGroup:
    """Change parts of a group; raises `DirectoryRefusal`."""
    with transaction.atomic():
        get_group(provider, group_id)
        group = groups_of(provider).select_for_update().get(pk=group_id)
        before = {
            "displayName": group.display_name,
            "externalId": group.external_id,
            "members": [{"value": str(pk)} for pk in group.members.values_list("pk", flat=True)],
        }
        return update_group(provider, group_id, read_group(patched(before, body, tuple(before))))


def remove_group(provider: ProviderSettings, group_id: int) -> None:
    """Delete a group, and take back what it gave."""
    with transaction.atomic():
        group = get_group(provider, group_id)
        people = list(group.members.all())
        _record(provider, group, "group.delete")
        group.delete()
        apply_groups(provider, people)


def _set_members(provider: ProviderSettings, group: DirectoryGroup, ids: Collection[int]) -> set[int]:
    """Replace the members, and return who came or left; raises `DirectoryRefusal` for no user of the provider."""
    before = _members(group)
    known = set(users_of(provider).filter(pk__in=ids).values_list("pk", flat=True))
    if missing := sorted(set(ids) - known):
        raise wrong_value(f"There is no user with the id {missing[0]}.")
    changed = before ^ known
    if changed:
        group.members.set(known)
        _record(provider, group, "group.members", joined=len(known - before), left=len(before - known))
    return changed


def _members(group: DirectoryGroup) -> set[int]:
    return set(group.members.values_list("pk", flat=True))


def _apply_to(provider: ProviderSettings, ids: Collection[int]) -> None:
    apply_groups(provider, User.objects.filter(pk__in=ids).order_by("pk"))


def _refuse_taken(provider: ProviderSettings, sent: SentGroup, group: DirectoryGroup | None) -> None:
    same = groups_of(provider).filter(display_name=sent.display_name.strip())
    if (same.exclude(pk=group.pk) if group else same).exists():
        raise DirectoryRefusal(409, f"There is a group {sent.display_name!r} already.", "uniqueness")


def _record(provider: ProviderSettings, group: DirectoryGroup, action: str, **after: object) -> None:
    record_audit(
        project=None,
        actor=provider.actor,
        action=action,
        subject=group.display_name[:200],
        after=after or None,
    )
