"""A host follows a rotation of the key that signs plans, over the real API."""

from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command

from driftline.common.edge_keys import Purpose, newest_key
from driftline.common.signing import is_signed, public_bytes, public_text
from inference.hosts.services import add_host
from inference.hosts.tokens import HostToken
from tests.inference.hosts.conftest import AddVersion, Join
from tests.inference.hosts.joined import JoinedHost


@pytest.fixture(autouse=True)
def _key_of_its_own(main_home: Path, settings: Any) -> None:
    settings.EDGE_KEY_FILE = main_home / "keys" / "edge_key"
    settings.EDGE_KEY_FILE.write_text("the first key")


@pytest.fixture
def host(_key_of_its_own: None, join: Join) -> JoinedHost:
    """A host that serves the plan of the first key."""
    _, token = add_host(name="serving-2", actor="test")
    host = join(token)
    host.follower.follow()
    assert host.follower.has_plan
    return host


def rotate(times: int = 1) -> None:
    for _ in range(times):
        call_command("rotate_key", "edge_key")


def test_a_rotation_is_followed_with_the_next_pull(host: JoinedHost, add_version: AddVersion) -> None:
    rotate()
    add_version()

    host.follow_until(lambda: bool(host.models))

    assert host.follower.failure == ""
    assert public_text(newest_key(Purpose.PLANS)) in (host.home / "host_plan_key").read_text()
    assert (host.home / "host_plan_key").stat().st_mode & 0o077 == 0


def test_rotations_while_a_host_was_away_are_followed_also_after_restarts(
    host: JoinedHost, join: Join, add_version: AddVersion
) -> None:
    rotate(3)
    again = join(host.token)
    again.follower.follow()
    rotate(2)
    add_version()

    once_more = join(host.token)
    once_more.follow_until(lambda: bool(once_more.models))

    assert once_more.follower.failure == ""


def test_a_key_that_the_pinned_one_did_not_name_is_refused(
    host: JoinedHost, settings: Any, add_version: AddVersion
) -> None:
    settings.EDGE_KEY_FILE.write_text("of a thief")
    rotate()
    add_version()

    host.follower.follow()

    assert host.models == []
    assert "make another token on the main server" in host.follower.failure


def test_another_token_begins_with_its_own_key(host: JoinedHost, settings: Any, join: Join) -> None:
    rotate()
    host.follower.follow()
    settings.EDGE_KEY_FILE.write_text("after a theft")
    _, token = add_host(name="serving-3", actor="test")

    anew = join(token)
    anew.follower.follow()

    assert anew.follower.failure == ""


def test_a_pin_that_was_spoilt_is_found_again_from_the_key_of_the_token(host: JoinedHost, join: Join) -> None:
    rotate(3)
    host.follower.follow()
    (host.home / "host_plan_key").write_text("{")

    again = join(host.token)
    again.follower.follow()

    assert again.follower.failure == ""


def test_a_host_of_an_earlier_release_gets_what_the_key_before_signed(host: JoinedHost) -> None:
    first = HostToken.parse(host.token).public_key
    rotate()

    def signed_by(**headers: str) -> list[bool]:
        answer = requests.get(
            f"{host.url}/api/v1/serving-hosts/self/plan",
            headers={"Authorization": f"Bearer {host.token}", **headers},
            timeout=10,
        )
        signature = answer.headers["Driftline-Signature"]
        newest = public_bytes(newest_key(Purpose.PLANS))
        return [is_signed(key, answer.content, signature) for key in (first, newest)]

    assert signed_by() == [True, False]
    assert signed_by(**{"Driftline-Signing-Key": "names any"}) == [False, True]
