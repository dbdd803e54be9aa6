"""The users and groups of SCIM as values: read from what a provider sends, and written as it expects them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from msgspec import UNSET, Struct, UnsetType

from driftline.base.accounts.models import DirectoryGroup, User
from driftline.sign_in.directory.refusals import wrong_value

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
MAX_MEMBERS = 10_000
_MAX_LETTERS = 254


class SentName(Struct, frozen=True, rename="camel"):
    """The parts of a name that are kept."""

    formatted: str | None = None
    given_name: str | None = None
    family_name: str | None = None


class SentEmail(Struct, frozen=True):
    """An address of a person."""

    value: str = ""
    primary: bool = False


class SentUser(Struct, frozen=True, rename="camel"):
    """A person as the provider describes them; other attributes are not kept."""

    user_name: str
    external_id: str | None = ""
    display_name: str | None = ""
    name: SentName | None = None
    emails: tuple[SentEmail, ...] | None = ()
    active: bool | UnsetType = UNSET
    """Where nothing is sent of it, an account stays as it is."""

    @property
    def email(self) -> str:
        """The primary address, else the first, else the name by which the person signs in there."""
        emails = [one for one in self.emails or () if one.value]
        primary = [one for one in emails if one.primary] or emails
        return (primary[0].value if primary else self.user_name).strip().lower()

    @property
    def names(self) -> tuple[str, str]:
        """How others see the person: in parts where they are sent, else in one."""
        name = self.name or SentName()
        parts = (_plain(name.given_name), _plain(name.family_name))
        return parts if any(parts) else (_plain(self.display_name or name.formatted), "")


class SentMember(Struct, frozen=True):
    """A member of a group, by the id of the account."""

    value: str


class SentGroup(Struct, frozen=True, rename="camel"):
    """A group as the provider describes it."""

    display_name: str
    external_id: str | None = ""
    members: tuple[SentMember, ...] | None = ()

    @property
    def member_ids(self) -> set[int]:
        """The ids of the members; raises `DirectoryRefusal` for too many, or for what is no id."""
        return ids_of([one.value for one in self.members or ()])


def read_user(document: dict[str, Any]) -> SentUser:
    """Read a user; raises `DirectoryRefusal`."""
    return _checked(_read(_with_words_as_flags(document), SentUser), "userName")


def read_group(document: dict[str, Any]) -> SentGroup:
    """Read a group; raises `DirectoryRefusal`."""
    return _checked(_read(document, SentGroup), "displayName")


def ids_of(values: list[str]) -> set[int]:
    """Read ids of accounts; raises `DirectoryRefusal`."""
    if len(values) > MAX_MEMBERS:
        raise wrong_value(f"A group has at most {MAX_MEMBERS:,} members here; make several groups of it.")
    if wrong := next(
        (one for one in values if not (one.isascii() and one.isdecimal() and len(one) < 19)), None
    ):
        raise wrong_value(f"{wrong[:40]!r} is no id of a user here.")
    return {int(one) for one in values}


def user_document(user: User, groups: list[DirectoryGroup]) -> dict[str, Any]:
    """Write a user."""
    return {
        "schemas": [USER],
        "id": str(user.pk),
        **({"externalId": user.external_id} if user.external_id else {}),
        "userName": user.directory_name or user.email,
        **({"name": _name_document(user)} if user.get_full_name() else {}),
        "active": user.is_active,
        "emails": [{"value": user.email}],
        "groups": [{"value": str(one.pk), "display": one.display_name} for one in groups],
        "meta": {
            "resourceType": "User",
            "created": user.date_joined.isoformat(),
            "location": f"{base_url()}/Users/{user.pk}",
        },
    }


def group_document(group: DirectoryGroup, asked: Mapping[str, str]) -> dict[str, Any]:
    """Write a group; its members are read only where they are asked for."""
    ids = _member_ids(group) if is_asked_for("members", asked) else []
    members = [{"value": str(pk), "$ref": f"{base_url()}/Users/{pk}"} for pk in ids]
    return {
        "schemas": [GROUP],
        "id": str(group.pk),
        **({"externalId": group.external_id} if group.external_id else {}),
        "displayName": group.display_name,
        **({"members": members} if members else {}),
        "meta": {
            "resourceType": "Group",
            "created": group.created_at.isoformat(),
            "location": f"{base_url()}/Groups/{group.pk}",
        },
    }


def projected(document: dict[str, Any], asked: Mapping[str, str]) -> dict[str, Any]:
    """Leave out the attributes that were not asked for (RFC 7644, 3.9); `schemas` and `id` stay."""
    return {
        name: value
        for name, value in document.items()
        if name in ("schemas", "id") or is_asked_for(name, asked)
    }


def is_asked_for(name: str, asked: Mapping[str, str]) -> bool:
    """Return whether an attribute is to be in the answer."""
    wanted, unwanted = _names(asked.get("attributes", "")), _names(asked.get("excludedAttributes", ""))
    return (not wanted or name.lower() in wanted) and name.lower() not in unwanted


def _names(text: str) -> set[str]:
    """Read names of attributes; a part of one stands for all of it."""
    return {
        one.rpartition(":")[2].partition(".")[0].strip().lower() for one in text.split(",") if one.strip()
    }


def base_url() -> str:
    """The address of this service."""
    return f"{settings.PUBLIC_URL}/scim/v2"


def _name_document(user: User) -> dict[str, str]:
    parts = {"givenName": user.first_name, "familyName": user.last_name}
    return {name: text for name, text in parts.items() if text}


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())[:150]


def _member_ids(group: DirectoryGroup) -> list[int]:
    return list(group.members.order_by("pk").values_list("pk", flat=True))


def _with_words_as_flags(document: dict[str, Any]) -> dict[str, Any]:
    """Take "False" for false: Entra ID sends it so."""
    active = document.get("active", True)
    if isinstance(active, str) and active.lower() in ("true", "false"):
        return document | {"active": active.lower() == "true"}
    return document


def _read[Sent: Struct](document: dict[str, Any], kind: type[Sent]) -> Sent:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise wrong_value(f"{error}.") from error


def _checked[Sent: Struct](sent: Sent, name: str) -> Sent:
    """Refuse what cannot be kept: text that is empty, too long, or holds what is no letter."""
    encoded = msgspec.to_builtins(sent)
    for field in (name, "externalId"):
        text = encoded[field] or ""
        if len(text) > _MAX_LETTERS or not (text.isprintable() or not text):
            raise wrong_value(f"{field} has at most {_MAX_LETTERS} printable characters.")
    if not encoded[name].strip():
        raise wrong_value(f"{name} is empty.")
    return sent
