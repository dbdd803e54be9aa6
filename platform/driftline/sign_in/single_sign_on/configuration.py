"""The file that says who signs in how: identity providers, roles by group, and who may still use a password."""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from django.core.exceptions import ImproperlyConfigured
from msgspec import Meta, Struct

from driftline.base.accounts.access.scopes import SCOPES_OF_ROLE
from driftline.base.errors import Problem
from driftline.base.extras import SAML, command_for, describe_missing, is_installed
from driftline.base.yaml_text import NumberReader, read_yaml
from driftline.sign_in.single_sign_on.provider_metadata import ProviderMetadata

VARIABLE = "DRIFTLINE_SIGN_IN_FILE"
MAX_BYTES = 1 << 20
_ENTITY_ID = re.compile(r"[^\s\"'<>&]+")
"""What both sides put into XML as it is."""

type Text = Annotated[str, Meta(min_length=1, max_length=200)]
type RoleName = Annotated[str, Meta(pattern=r"^\w[\w .-]{0,39}\Z")]


class RoleRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What the members of a provider's group are in a project: their role, built in or its own, and teams of it."""

    group: Text
    project: Text
    role: RoleName
    teams: tuple[Text, ...] = ()


class Grant(Struct, frozen=True):
    """What a provider gives a person in one project: the roles of all their groups, in the order of the file."""

    roles: tuple[str, ...] = ()
    teams: frozenset[str] = frozenset()


class SamlSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Describes a provider that speaks SAML 2.0: where its metadata is, and which attributes have address and name."""

    metadata_url: str = ""
    metadata_file: str = ""
    email_attribute: Text = "email"
    name_attribute: Text = "name"
    metadata: ProviderMetadata | None = None


class ProviderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One identity provider. Its `id` is in the address that people come back to, and names it in the audit trail.

    With `saml`, `issuer` and `client_id` are the entity IDs of the provider and of Driftline.
    """

    id: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,29}$")]
    name: Annotated[str, Meta(min_length=1, max_length=40)]
    issuer: Text
    client_id: Text
    saml: SamlSettings | None = None
    client_secret_file: str = ""
    client_secret_env: str = ""
    scopes: tuple[Text, ...] = ("openid", "profile", "email")
    groups_claim: Text = "groups"
    groups_from: Literal["claim", "scim"] = "claim"
    roles: tuple[RoleRule, ...] = ()
    email_domains: tuple[Text, ...] = ()
    emails_are_verified: bool = False
    link_verified_emails: bool = False
    session_hours: Annotated[int, Meta(ge=1, le=720)] = 8
    secret: str = ""

    @property
    def actor(self) -> str:
        """How audit rows name it."""
        return f"single sign-on {self.id}"

    @property
    def login_route(self) -> str:
        """Name of the route at which a sign-in by it starts."""
        return "saml_login" if self.saml else "openid_connect_login"

    def takes_address(self, email: str) -> bool:
        """Return whether an address is of a domain that signs in by it; all are where none is named."""
        domain = email.rpartition("@")[2].lower()
        return not self.email_domains or domain in {one.lower() for one in self.email_domains}

    def grants(self, groups: Collection[str]) -> Mapping[str, Grant]:
        """Return what members of `groups` are given, by the slug of the project."""
        granted: dict[str, Grant] = {}
        for rule in self.roles:
            if rule.group in groups:
                before = granted.get(rule.project, Grant())
                granted[rule.project] = Grant(
                    (*before.roles, rule.role), before.teams | frozenset(rule.teams)
                )
        return granted


class SignInSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How people sign in; `passwords_for` are the only addresses that may use a password, None is everybody."""

    providers: tuple[ProviderSettings, ...] = ()
    passwords_for: tuple[Text, ...] | None = None

    def provider(self, provider_id: str) -> ProviderSettings | None:
        """Return the provider of that id."""
        return next((one for one in self.providers if one.id == provider_id), None)

    def takes_password(self, email: str) -> bool:
        """Return whether an account may sign in with a password."""
        return self.passwords_for is None or email.strip().lower() in {
            one.lower() for one in self.passwords_for
        }


PASSWORDS_ALONE = SignInSettings()


def read_sign_in(path: Path | None) -> SignInSettings:
    """Read the file and the secrets that it names; a wrong value stops the start with a sentence."""
    if path is None:
        return PASSWORDS_ALONE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _wrong(path, f"it is larger than {MAX_BYTES:,} bytes")
        document = read_yaml(path.read_text(), NumberReader)
        read = msgspec.convert(document, SignInSettings)
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{VARIABLE} names {path}, which cannot be read: {error}.") from error
    except Problem as problem:
        raise _wrong(path, problem.detail.rstrip(".")) from problem
    except msgspec.ValidationError as error:
        raise _wrong(path, str(error)) from error
    _check(path, read)
    providers = tuple((_with_metadata if one.saml else _with_secret)(path, one) for one in read.providers)
    return msgspec.structs.replace(read, providers=providers)


def _check(path: Path, read: SignInSettings) -> None:
    ids = [one.id for one in read.providers]
    if twice := {one for one in ids if ids.count(one) > 1}:
        raise _wrong(path, f"two providers have the id {min(twice)!r}")
    if "saml" in ids:
        raise _wrong(path, "no provider can have the id 'saml', which is the name of the protocol")
    if read.passwords_for is not None and not (read.passwords_for and read.providers):
        raise _wrong(
            path,
            "passwords_for needs a provider, and an address that can sign in while no provider answers",
        )
    for one in read.providers:
        _check_roles(path, one)
        if one.saml:
            _check_saml(path, one, one.saml)
        else:
            _check_openid(path, one)


def _check_roles(path: Path, one: ProviderSettings) -> None:
    for rule in one.roles:
        if rule.role not in SCOPES_OF_ROLE and rule.role.lower() in SCOPES_OF_ROLE:
            raise _wrong(
                path, f"{one.id} gives the role {rule.role!r}, which is written {rule.role.lower()!r}"
            )


def _check_openid(path: Path, one: ProviderSettings) -> None:
    url = urlsplit(one.issuer)
    if not _is_address(one.issuer) or url.query or url.fragment:
        raise _wrong(
            path,
            f"the issuer of {one.id} is {one.issuer!r}; use an address such as https://login.example.com",
        )
    if "openid" not in one.scopes:
        raise _wrong(path, f"the scopes of {one.id} lack openid")
    if one.secret:
        raise _wrong(
            path, f"{one.id} has a secret; name its place in client_secret_file or client_secret_env"
        )
    if bool(one.client_secret_file) == bool(one.client_secret_env):
        raise _wrong(path, f"{one.id} needs either client_secret_file or client_secret_env")
    if one.client_secret_env and not re.fullmatch(r"[A-Z][A-Z0-9_]*", one.client_secret_env):
        raise _wrong(path, f"client_secret_env of {one.id} is no name of an environment variable")


def _check_saml(path: Path, one: ProviderSettings, saml: SamlSettings) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(ProviderSettings)}
    for name in ("client_secret_file", "client_secret_env", "scopes", "secret"):
        if getattr(one, name) != defaults[name]:
            raise _wrong(path, f"{one.id} has saml, and {name}, which belongs to OpenID Connect")
    if not (_ENTITY_ID.fullmatch(one.issuer) and _ENTITY_ID.fullmatch(one.client_id)):
        raise _wrong(
            path,
            f"issuer and client_id of {one.id} are the entity IDs of the provider and of Driftline; use addresses "
            "such as https://login.example.com/saml",
        )
    if saml.metadata or bool(saml.metadata_url) == bool(saml.metadata_file):
        raise _wrong(path, f"saml of {one.id} needs either metadata_url or metadata_file")
    if saml.metadata_url and not _is_address(saml.metadata_url):
        raise _wrong(
            path, f"metadata_url of {one.id} is no address such as https://login.example.com/metadata"
        )
    if saml.metadata_url and not _is_confidential(saml.metadata_url):
        raise _wrong(
            path,
            f"metadata_url of {one.id} is not https: whoever changes metadata on its way signs in as anybody",
        )
    if not one.emails_are_verified:
        raise _wrong(
            path,
            f"{one.id} has saml, which does not say whether addresses are checked; set emails_are_verified: true if "
            "the provider checks them, as nobody gets an account otherwise",
        )


def _is_address(text: str) -> bool:
    url = urlsplit(text)
    return url.scheme in ("http", "https") and bool(url.netloc) and "@" not in url.netloc


def _is_confidential(address: str) -> bool:
    """Return whether nobody on the way can change what is fetched: over TLS, or from this machine."""
    url = urlsplit(address)
    return url.scheme == "https" or url.hostname in ("localhost", "127.0.0.1", "::1")


def _with_metadata(path: Path, one: ProviderSettings) -> ProviderSettings:
    """Read the metadata that a file has; what is at an address is fetched when somebody signs in."""
    if not is_installed(SAML):
        raise _wrong(path, describe_missing(SAML))
    try:
        from driftline.sign_in.single_sign_on.saml.metadata import read_metadata
    except Exception as error:  # xmlsec makes one of its own beside an lxml with another libxml2
        raise _wrong(path, f"the packages for SAML do not load: {error}; run {command_for(SAML)}") from error
    saml = one.saml
    if saml is None or not saml.metadata_file:
        return one
    try:
        metadata = read_metadata((path.parent / saml.metadata_file).read_bytes(), one.issuer)
    except (OSError, ValueError) as error:
        raise _wrong(path, f"the metadata of {one.id} cannot be read: {error}") from error
    return msgspec.structs.replace(one, saml=msgspec.structs.replace(saml, metadata=metadata))


def _with_secret(path: Path, one: ProviderSettings) -> ProviderSettings:
    if one.client_secret_env:
        place, secret = f"the variable {one.client_secret_env}", os.environ.get(one.client_secret_env, "")
    else:
        place = str(path.parent / one.client_secret_file)
        try:
            secret = Path(place).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(path, f"the secret of {one.id} cannot be read: {error}") from error
    if not secret.strip():
        raise _wrong(path, f"the secret of {one.id} is empty: write it into {place}")
    return msgspec.structs.replace(one, secret=secret.strip())


def _wrong(path: Path, reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{VARIABLE}: {path} cannot be used: {reason}.")
