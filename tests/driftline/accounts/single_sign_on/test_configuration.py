"""What the operator's file becomes, and what stops the start."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from driftline.accounts.scopes import Role
from driftline.accounts.single_sign_on.configuration import PASSWORDS_ALONE, Grant, read_sign_in

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
    assert company.grants(["risk", "leads"]) == {"fraud": Grant(Role.ADMIN, frozenset({"Duty", "Night"}))}
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
        ("role: viewer", "role: king", "role"),
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

    read = read_sign_in(file_of(tmp_path, blocks[0] + blocks[1]))

    assert read.providers[0].grants(["ml-team"])["fraud"] == Grant(Role.EDITOR, frozenset({"risk"}))
    assert read.takes_password("breakglass@example.com")
