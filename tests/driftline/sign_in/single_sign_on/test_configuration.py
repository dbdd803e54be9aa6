"""What the operator's file becomes, and what stops the start."""

import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from driftline.base import extras
from driftline.sign_in.single_sign_on.configuration import PASSWORDS_ALONE, Grant, read_sign_in
from tests.absent_extras import hide
from tests.driftline.sign_in.single_sign_on.saml.assertions import metadata, signer

GOOD = """
providers:
  - id: company
    name: Example Ltd
    issuer: https://login.example.com
    client_id: driftline
    client_secret_file: secret
    roles:
      - {group: risk, project: fraud, role: viewer, teams: [Duty]}
      - {group: leads, project: fraud, role: admin, teams: [Night]}
passwords_for: [Ada@bank.example]
"""


def file_of(folder: Path, text: str) -> Path:
    (folder / "secret").write_text("a secret\n")
    path = folder / "sign-in.yaml"
    path.write_text(text)
    return path


def test_without_a_file_everybody_has_a_password() -> None:
    assert read_sign_in(None) == PASSWORDS_ALONE
    assert PASSWORDS_ALONE.takes_password("anybody@bank.example")


def test_a_file_names_providers_secrets_and_roles(tmp_path: Path) -> None:
    read = read_sign_in(file_of(tmp_path, GOOD))

    company = read.provider("company")
    assert company is not None
    assert (company.secret, company.session_hours) == ("a secret", 8)
    assert company.grants(["risk", "leads"]) == {
        "fraud": Grant(("viewer", "admin"), frozenset({"Duty", "Night"}))
    }
    assert company.grants(["another"]) == {}
    assert read.takes_password("ada@bank.example")
    assert not read.takes_password("eve@bank.example")


def test_a_secret_may_be_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_SECRET", "of the environment")
    text = GOOD.replace("client_secret_file: secret", "client_secret_env: OIDC_SECRET")

    assert read_sign_in(file_of(tmp_path, text)).providers[0].secret == "of the environment"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("role: viewer", "role: The King!", "role"),
        ("role: viewer", "role: Viewer", "gives the role 'Viewer', which is written 'viewer'"),
        ("role: viewer", 'role: "viewer\\n"', "role"),
        ("id: company", "id: The Company", "id"),
        ("name: Example Ltd", "nickname: Example Ltd", "nickname"),
        ("https://login.example.com", "login.example.com", "use an address such as https://login.example.com"),
        ("https://login.example.com", "https://u:p@login.example.com", "use an address"),
        ("client_secret_file: secret", "client_secret: abc", "client_secret"),
        ("client_secret_file: secret", "secret: abc", "name its place"),
        ("client_secret_file: secret", "client_secret_file: nowhere", "cannot be read"),
        ("client_secret_file: secret", "client_secret_env: NOT_SET_ANYWHERE", "is empty"),
        ("client_secret_file: secret", "session_hours: 0\n    client_secret_file: secret", ">= 1"),
        ("client_secret_file: secret", "scopes: [email]\n    client_secret_file: secret", "lack openid"),
        ("[Ada@bank.example]", "[]", "passwords_for needs"),
        ("providers:", "providers: &all", "cannot be used here"),
    ],
)  # fmt: skip
def test_a_wrong_value_stops_the_start(tmp_path: Path, before: str, after: str, sentence: str) -> None:
    path = file_of(tmp_path, GOOD.replace(before, after, 1))

    with pytest.raises(ImproperlyConfigured, match="DRIFTLINE_SIGN_IN_FILE") as refused:
        read_sign_in(path)

    assert sentence in str(refused.value)


SAML = """
providers:
  - id: company
    name: Example Ltd
    issuer: https://login.bank.example/saml
    client_id: https://driftline.bank.example/saml
    emails_are_verified: true
    saml: {metadata_file: metadata.xml}
"""


def test_a_file_names_the_metadata_of_a_saml_provider(tmp_path: Path) -> None:
    (tmp_path / "metadata.xml").write_bytes(
        metadata(signer().certificate, signer("the next key").certificate)
    )

    read = read_sign_in(file_of(tmp_path, SAML)).providers[0].saml

    assert read is not None
    assert read.metadata is not None
    assert read.metadata.sign_in_url == "https://login.bank.example/enter?tenant=7&page=1"
    assert read.metadata.certificates == (signer().certificate, signer("the next key").certificate)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("metadata_file: metadata.xml", "", "needs either metadata_url or metadata_file"),
        ("metadata.xml", "metadata.xml, metadata_url: 'https://a.example'", "needs either metadata_url or"),
        ("metadata_file: metadata.xml", "metadata_url: a.example", "is no address"),
        ("metadata_file: metadata.xml", "metadata_url: 'http://login.bank.example/m'", "is not https"),
        ("metadata_file: metadata.xml", "metadata_url: 'http://127.0.0.1.evil.example/m'", "is not https"),
        ("metadata.xml", "nowhere.xml", "cannot be read"),
        ("metadata.xml", "secret", "no XML that can be read"),
        ("login.bank.example/saml", "evil.example", "describes no identity provider"),
        ("https://driftline.bank.example/saml", "a&b", "are the entity IDs"),
        ("emails_are_verified: true", "session_hours: 8", "set emails_are_verified: true"),
        ("emails_are_verified: true", "client_secret_file: secret", "belongs to OpenID Connect"),
        ("emails_are_verified: true", "scopes: [openid]", "belongs to OpenID Connect"),
        ("saml: {metadata_file: metadata.xml}", "saml: yes", "saml"),
        ("id: company", "id: saml", "is the name of the protocol"),
        ("metadata.xml", "metadata.xml, metadata: {sign_in_url: a, certificates: []}", "needs either"),
    ],
)
def test_a_wrong_value_of_a_saml_provider_stops_the_start(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    (tmp_path / "metadata.xml").write_bytes(metadata(signer().certificate))
    path = file_of(tmp_path, SAML.replace(before, after, 1))

    with pytest.raises(ImproperlyConfigured, match="DRIFTLINE_SIGN_IN_FILE") as refused:
        read_sign_in(path)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["https://login.bank.example/m", "http://127.0.0.1:8080/m", "http://localhost/m", "http://[::1]/m"],
)
def test_metadata_may_be_at_an_address_where_nobody_on_the_way_changes_it(
    tmp_path: Path, address: str
) -> None:
    text = SAML.replace("metadata_file: metadata.xml", f"metadata_url: '{address}'")

    read = read_sign_in(file_of(tmp_path, text)).providers[0].saml

    assert read is not None
    assert read.metadata_url == address


def test_saml_without_its_packages_stops_the_start_with_the_command_that_adds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, extras.SAML)

    with pytest.raises(ImproperlyConfigured, match="run make extra ADD=saml"):
        read_sign_in(file_of(tmp_path, SAML))


def test_packages_for_saml_that_do_not_load_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "driftline.sign_in.single_sign_on.saml.metadata", None)

    with pytest.raises(ImproperlyConfigured, match="the packages for SAML do not load"):
        read_sign_in(file_of(tmp_path, SAML))


def test_two_providers_of_one_id_stop_the_start(tmp_path: Path) -> None:
    one = GOOD[: GOOD.index("passwords_for")]
    twice = one + one.removeprefix("\nproviders:\n")

    with pytest.raises(ImproperlyConfigured, match="two providers have the id 'company'"):
        read_sign_in(file_of(tmp_path, twice))


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        read_sign_in(tmp_path / "none.yaml")


def test_the_example_of_the_guide_is_a_file_that_is_read(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[4] / "docs/guides/sign-in.md").read_text()
    blocks: list[Any] = [part.split("```")[0] for part in guide.split("```yaml\n")[1:]]
    (tmp_path / "oidc-secret").write_text("a secret")

    described = metadata(signer().certificate, issuer="https://login.example.com/saml")
    (tmp_path / "company-metadata.xml").write_bytes(described)

    read = read_sign_in(file_of(tmp_path, blocks[0] + blocks[2]))
    by_saml = read_sign_in(file_of(tmp_path, blocks[1] + blocks[2]))

    assert read.providers[0].grants(["ml-team"])["fraud"] == Grant(("editor",), frozenset({"risk"}))
    assert by_saml.providers[0].grants(["ml-team"])["fraud"].roles == ("editor",)
    assert read.takes_password("breakglass@example.com")
