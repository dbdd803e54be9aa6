"""A host follows a rotation of the key that signs plans, over the real API."""

from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command

from driftline.base.keys.edge_keys import Purpose, newest_key
from driftline.base.keys.signing import is_signed, public_bytes, public_text
from inference.hosts.models import ServingHost
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


@pytest.mark.slow
def test_a_rotation_is_followed_with_the_next_pull(host: JoinedHost, add_version: AddVersion) -> None:
    rotate()
    add_version()

    host.follow_until(lambda: bool(host.models))

    assert host.follower.failure == ""
    assert public_text(newest_key(Purpose.PLANS)) in (host.home / "host_plan_key").read_text()
    assert (host.home / "host_plan_key").stat().st_mode & 0o077 == 0


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_pin_that_was_spoilt_is_found_again_from_the_key_of_the_token(host: JoinedHost, join: Join) -> None:
    rotate(3)
    host.follower.follow()
    (host.home / "host_plan_key").write_text("{")

    again = join(host.token)
    again.follower.follow()

    assert again.follower.failure == ""


def pull(host: JoinedHost, token: str, **headers: str) -> tuple[bytes, str]:
    """Read the plan as it is sent, and its signature."""
    answer = requests.get(
        f"{host.url}/api/v1/serving-hosts/self/plan",
        headers={"Authorization": f"Bearer {token}", **headers},
        timeout=10,
    )
    assert answer.status_code == 200, answer.content
    return answer.content, answer.headers["Driftline-Signature"]


def trusts_its_plan(host: JoinedHost, token: str) -> bool:
    """Tell whether a host that checks plans with the key of its token alone takes the one that it is sent."""
    return is_signed(HostToken.parse(token).public_key, *pull(host, token))


class TestAHostOfAnEarlierRelease:
    def test_with_a_token_of_before_a_rotation_joins_until_the_next_one_deletes_its_key(
        self, host: JoinedHost
    ) -> None:
        rotate()
        assert trusts_its_plan(host, host.token)

        rotate()
        assert not trusts_its_plan(host, host.token)

    def test_with_a_token_of_after_rotations_joins_until_the_second_one_after_it(
        self, host: JoinedHost
    ) -> None:
        rotate(2)
        _, token = add_host(name="serving-3", actor="test")
        assert trusts_its_plan(host, token)

        rotate()
        assert trusts_its_plan(host, token)

        rotate()
        assert not trusts_its_plan(host, token)

    def test_that_was_added_before_keys_were_noted_is_taken_to_have_the_oldest(
        self, host: JoinedHost
    ) -> None:
        ServingHost.objects.update(token_key="")

        rotate()

        assert trusts_its_plan(host, host.token)

    def test_that_is_upgraded_follows_from_the_key_of_its_token(self, host: JoinedHost, join: Join) -> None:
        rotate(2)
        assert not trusts_its_plan(host, host.token)

        upgraded = join(host.token, "upgraded")
        upgraded.follower.follow()

        assert (upgraded.follower.failure, upgraded.follower.has_plan) == ("", True)


def test_a_host_that_names_its_key_gets_what_the_newest_signed(host: JoinedHost) -> None:
    rotate()

    pulled = pull(host, host.token, **{"Driftline-Signing-Key": "names any"})

    assert is_signed(public_bytes(newest_key(Purpose.PLANS)), *pulled)
