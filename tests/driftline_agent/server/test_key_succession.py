"""A device follows the server to its next signing key by itself, and trusts no other key."""

import base64
import contextlib
import errno
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from driftline_agent import durable_files
from driftline_agent.errors import NotReached
from driftline_agent.server import identity
from driftline_agent.server.identity import read_identity
from driftline_agent.server.key_succession import Statement
from tests.driftline_agent.device import KEY, PlayedDevice, enrol_in, public_key_of, succession, times

SECOND, THIRD, THIEF = (Ed25519PrivateKey.from_private_bytes(letter * 32) for letter in (b"2", b"3", b"t"))


@pytest.fixture
def enrolled(tmp_path: Path) -> PlayedDevice:
    """A device that answers with version 1, which the first key signed."""
    enrol_in(tmp_path)
    device = PlayedDevice(tmp_path)
    device.server.offer(times(1), "1")
    device.updater.poll()
    assert device.version() == "1"
    return device


def give(device: PlayedDevice, version: str, key: Ed25519PrivateKey) -> None:
    device.server.offer(times(int(version)), version, key=key)
    device.updater.poll()


def pinned(device: PlayedDevice) -> str:
    return read_identity(device.home).public_key


class TestARotation:
    def test_is_followed_with_the_next_poll_and_named_to_the_server(self, enrolled: PlayedDevice) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1)]

        give(enrolled, "2", SECOND)

        assert enrolled.version() == "2"
        assert pinned(enrolled) == enrolled.server.named_key == public_key_of(SECOND)

    def test_of_which_there_were_several_without_a_network_is_followed_at_once(
        self, enrolled: PlayedDevice
    ) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1), succession(SECOND, THIRD, 2)]

        give(enrolled, "2", THIRD)

        assert enrolled.version() == "2"
        assert pinned(enrolled) == public_key_of(THIRD)

    def test_leaves_versions_on_the_disk_that_the_key_before_signed(self, enrolled: PlayedDevice) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1)]
        give(enrolled, "2", SECOND)
        newest = max(enrolled.versions.folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime_ns)
        newest.write_bytes(b"spoilt")

        enrolled.start()

        assert enrolled.version() == "1"

    def test_survives_a_restart_and_does_not_ask_again(self, enrolled: PlayedDevice) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1)]
        give(enrolled, "2", SECOND)
        enrolled.server.successions = []

        enrolled.start()
        give(enrolled, "3", SECOND)

        assert enrolled.version() == "3"

    @pytest.mark.parametrize("after", range(4))
    def test_with_a_power_cut_at_any_write_ends_with_the_new_key(
        self, enrolled: PlayedDevice, after: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1)]
        steps = iter(range(after))

        def cut(draft: Path, path: Path) -> None:
            if next(steps, None) is None:
                raise KeyboardInterrupt
            draft.replace(path)

        with monkeypatch.context() as power, contextlib.suppress(KeyboardInterrupt):
            power.setattr(durable_files, "put_in_place", cut)
            give(enrolled, "2", SECOND)
        enrolled.start()
        assert enrolled.version() in ("1", "2")

        enrolled.updater.poll()

        assert (enrolled.version(), pinned(enrolled)) == ("2", public_key_of(SECOND))

    def test_is_followed_later_where_the_disk_is_full(
        self, enrolled: PlayedDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1)]

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as full:
            full.setattr(identity, "write_file", refuse)
            with pytest.raises(OSError, match="No space"):
                give(enrolled, "2", SECOND)
        assert (enrolled.version(), pinned(enrolled)) == ("1", public_key_of(KEY))

        enrolled.updater.poll()

        assert (enrolled.version(), pinned(enrolled)) == ("2", public_key_of(SECOND))

    def test_of_which_the_statement_does_not_come_is_asked_for_again(self, enrolled: PlayedDevice) -> None:
        enrolled.server.successions = None

        with pytest.raises(NotReached):
            give(enrolled, "2", SECOND)
        enrolled.server.successions = [succession(KEY, SECOND, 1)]
        enrolled.updater.poll()

        assert enrolled.version() == "2"


class TestAKeyThatTheTrustedOneDidNotName:
    @pytest.mark.parametrize(
        "statements",
        [
            [],
            [succession(THIEF, THIEF, 1)],
            [succession(SECOND, THIEF, 2)],
            [Statement(succession(KEY, THIEF, 1).text, succession(KEY, SECOND, 1).signature)],
            [Statement(succession(KEY, THIEF, 1).text, base64.b64encode(b"0" * 64).decode())],
        ],
        ids=["none", "by itself", "by a later key", "signature of another", "invented"],
    )
    def test_is_not_trusted(self, enrolled: PlayedDevice, statements: list[Statement]) -> None:
        enrolled.server.successions = statements

        give(enrolled, "2", THIEF)

        assert (enrolled.version(), pinned(enrolled)) == ("1", public_key_of(KEY))

    def test_that_was_left_is_not_trusted_again(self, enrolled: PlayedDevice) -> None:
        enrolled.server.successions = [succession(KEY, SECOND, 1), succession(SECOND, KEY, 1)]
        give(enrolled, "2", SECOND)

        give(enrolled, "3", KEY)

        assert (enrolled.version(), pinned(enrolled)) == ("2", public_key_of(SECOND))


def test_an_agent_of_before_reads_who_the_device_is_while_no_key_was_rotated(tmp_path: Path) -> None:
    enrol_in(tmp_path)

    stored = (tmp_path / "device.json").read_text()

    assert "key_number" not in stored
    assert "former_keys" not in stored
