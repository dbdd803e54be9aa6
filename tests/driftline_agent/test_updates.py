"""A device changes its version without a gap, refuses what cannot answer, and always has one that does."""

import contextlib
import errno
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from driftline_agent import durable_files, versions
from driftline_agent.server.updater import ATTEMPTS
from driftline_agent.serving import FAILURES_IN_A_ROW
from tests.driftline_agent.device import PlayedDevice, signed, times
from tests.inference.onnx_models import (
    linear_model,
    probability_model,
    probability_signature,
    summing_model,
    summing_signature,
)

NAN = linear_model(float("nan"), 0.0)


def give(device: PlayedDevice, content: bytes, version: str, **changes: Any) -> None:
    device.server.offer(content, version, **changes)
    device.updater.poll()


def answer(device: PlayedDevice, x: float = 2.0) -> float:
    assert device.in_use.model is not None
    return float(device.in_use.model.run({"X": np.array([[x]], np.float32)})["y"][0, 0])


def answer_well(device: PlayedDevice) -> None:
    device.in_use.note_answer({"X": np.array([[2.0]], np.float32)})


def fail(device: PlayedDevice, requests: int) -> None:
    assert device.in_use.model is not None
    for _ in range(requests):
        device.in_use.note_failure(device.in_use.model, {"X": np.array([[2.0]], np.float32)})
    device.updater.look_at_failures()


class TestAnUpdate:
    def test_answers_with_the_new_version_and_keeps_the_one_before(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        give(device, times(3), "3")

        assert (device.version(), answer(device)) == ("3", 6.0)
        assert device.updater.outcome() == (3, "")
        assert len(list(device.versions.folder.iterdir())) == 2

    def test_removes_files_of_older_versions(self, device: PlayedDevice) -> None:
        for version in ("1", "2", "3"):
            give(device, times(int(version)), version)

        names = {path.stem for path in device.versions.folder.iterdir()}
        assert names == {json.loads(signed(times(n)).manifest)["sha256"] for n in (2, 3)}

    def test_back_to_the_version_before_downloads_nothing(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        give(device, times(2), "2")

        give(device, times(1), "1", generation=3)

        assert (device.version(), device.server.downloads) == ("1", 2)

    def test_back_to_the_version_before_is_not_proved_by_what_the_bad_one_answered(
        self, device: PlayedDevice
    ) -> None:
        give(device, NAN, "1")
        give(device, times(2), "2")
        answer_well(device)

        give(device, NAN, "1", generation=3)

        assert device.version() == "1"
        assert device.updater.outcome() == (1, "")

    def test_back_to_the_version_before_never_returns_to_the_one_that_was_taken_back(
        self, device: PlayedDevice
    ) -> None:
        give(device, times(1), "1")
        give(device, times(2), "2")
        give(device, times(1), "1", generation=3)

        fail(device, FAILURES_IN_A_ROW)
        (device.versions.folder / f"{json.loads(signed(times(1)).manifest)['sha256']}.onnx").unlink()
        device.start()

        assert device.version() is None

    def test_that_is_aborted_goes_back_also_where_the_completed_one_was_refused(
        self, device: PlayedDevice
    ) -> None:
        give(device, times(1), "1")
        give(device, b"not onnx", "2")
        give(device, times(3), "3")

        give(device, b"not onnx", "2", generation=4)

        assert device.version() == "1"
        release, failure = device.updater.outcome()
        assert (release, "cannot load" in failure) == (2, True)
        device.start()
        device.updater.poll()
        assert device.version() == "1"

    def test_with_the_same_file_is_proved_anew_where_the_signature_differs(
        self, device: PlayedDevice
    ) -> None:
        give(device, probability_model(), "1", signature=probability_signature())

        three = msgspec.structs.replace(probability_signature(), classes=["idle", "busy", "away"])
        give(device, probability_model(), "2", signature=three)

        assert device.version() == "1"
        assert device.updater.outcome() == (2, "its probabilities have 1 columns for 3 classes")

    def test_with_the_same_file_and_another_signature_goes_back_like_any_other(
        self, device: PlayedDevice
    ) -> None:
        swapped = msgspec.structs.replace(probability_signature(), classes=["busy", "idle"])
        give(device, probability_model(), "1", signature=probability_signature())
        give(device, probability_model(), "2", signature=swapped)
        assert (device.version(), device.server.downloads) == ("2", 1)

        fail(device, FAILURES_IN_A_ROW)

        assert device.version() == "1"
        assert device.updater.outcome()[0] == 2

    def test_with_the_same_file_and_signature_only_takes_the_new_name(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        model = device.in_use.model

        give(device, times(1), "2")

        assert device.version() == "2"
        assert device.in_use.model is model

    def test_survives_a_restart(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")

        device.start()

        assert (device.version(), answer(device)) == ("1", 2.0)

    def test_to_an_assignment_that_is_older_than_one_that_was_seen_is_refused(
        self, device: PlayedDevice
    ) -> None:
        give(device, times(2), "2")

        give(device, times(1), "1")

        assert device.version() == "2"

    def test_that_was_not_signed_is_refused(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        device.server.offer(times(2), "2")
        assert device.server.offered is not None
        device.server.offered = type(device.server.offered)(device.server.offered.manifest, "AAAA")

        device.updater.poll()

        assert device.version() == "1"


class TestAVersionThatCannotAnswer:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"not onnx", "cannot load"), (summing_model(3), "the model fails")],
        ids=["does not load", "takes other inputs"],
    )
    def test_is_refused_and_reported(self, device: PlayedDevice, content: bytes, reason: str) -> None:
        give(device, times(1), "1")

        give(device, content, "2")

        release, failure = device.updater.outcome()
        assert (device.version(), release) == ("1", 2)
        assert reason in failure

    def test_is_refused_where_it_answers_nan_to_rows_of_before(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        answer_well(device)

        give(device, NAN, "2")

        assert device.version() == "1"
        assert "NaN" in device.updater.outcome()[1]

    def test_is_not_tried_again_until_another_release_brings_it(self, device: PlayedDevice) -> None:
        give(device, b"not onnx", "2")
        device.updater.poll()
        device.start()
        device.updater.poll()

        assert device.server.downloads == 1
        assert device.updater.outcome()[0] == 2

    def test_takes_no_room_on_the_disk(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")

        give(device, b"not onnx", "2")
        give(device, b"nor this", "3")

        assert [path.read_bytes() for path in device.versions.folder.iterdir()] == [times(1)]

    def test_leaves_a_device_without_any_version_as_it_is(self, device: PlayedDevice) -> None:
        give(device, b"not onnx", "1")
        assert device.version() is None

        give(device, times(2), "2")

        assert device.version() == "2"


class TestAVersionThatFailsLater:
    def test_is_taken_back_where_the_one_before_answers_the_same_request(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        give(device, NAN, "2")
        assert device.version() == "2"  # nothing was answered before, so the proof had invented rows

        fail(device, FAILURES_IN_A_ROW)

        assert (device.version(), answer(device)) == ("1", 2.0)
        assert device.updater.outcome() == (
            2,
            "it failed requests in a row that the earlier version answers",
        )

    def test_stays_taken_back_after_a_restart(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        give(device, NAN, "2")
        fail(device, FAILURES_IN_A_ROW)

        device.start()
        device.updater.poll()

        assert device.version() == "1"

    def test_is_taken_back_and_reported_also_where_the_disk_is_full(
        self, device: PlayedDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(device, times(1), "1")
        give(device, NAN, "2")

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(versions, "write_file", refuse)
        with pytest.raises(OSError, match="No space"):
            fail(device, FAILURES_IN_A_ROW)

        assert (device.version(), device.updater.outcome()[0]) == ("1", 2)

    def test_is_taken_back_in_one_write(self, device: PlayedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        give(device, times(1), "1")
        give(device, NAN, "2")
        written = []
        monkeypatch.setattr(versions, "write_file", lambda path, _: written.append(path.name))

        fail(device, FAILURES_IN_A_ROW)

        assert written == ["versions.json"]

    def test_stays_while_it_fails_now_and_then(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        give(device, times(2), "2")

        for _ in range(3):
            fail(device, FAILURES_IN_A_ROW - 1)
            answer_well(device)

        assert device.version() == "2"

    def test_stays_where_the_one_before_fails_the_same_request(self, device: PlayedDevice) -> None:
        give(device, linear_model(float("inf"), 0.0), "1")
        give(device, NAN, "2")

        fail(device, FAILURES_IN_A_ROW)

        assert device.version() == "2"

    def test_stays_where_there_is_none_before(self, device: PlayedDevice) -> None:
        give(device, NAN, "1")

        fail(device, FAILURES_IN_A_ROW)

        assert device.version() == "1"


class TestAPowerCut:
    """Whatever is on the disk when the power goes, a model answers afterwards."""

    def test_in_the_middle_of_a_download_leaves_the_version_of_before(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        device.server.cut_at = 10
        give(device, times(2), "2")

        device.start()

        assert device.version() == "1"
        device.server.cut_at = None
        device.updater.poll()
        assert device.version() == "2"

    @pytest.mark.parametrize("after", range(3))
    def test_at_any_write_leaves_a_version_that_answers(
        self, device: PlayedDevice, after: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(device, times(1), "1")
        steps = iter(range(after))

        def cut(draft: Path, path: Path) -> None:
            if next(steps, None) is None:
                raise KeyboardInterrupt
            draft.replace(path)

        monkeypatch.setattr(durable_files, "put_in_place", cut)
        with contextlib.suppress(KeyboardInterrupt):
            give(device, times(2), "2")
        monkeypatch.undo()
        device.start()

        assert device.version() in ("1", "2")
        device.updater.poll()
        assert (device.version(), answer(device)) == ("2", 4.0)

    def test_that_spoilt_the_newest_file_leaves_the_one_before(self, device: PlayedDevice) -> None:
        give(device, times(1), "1")
        give(device, times(2), "2")
        newest = device.versions.folder / f"{json.loads(signed(times(2)).manifest)['sha256']}.onnx"
        newest.write_bytes(newest.read_bytes()[:50])

        device.start()

        assert device.version() == "1"
        device.updater.poll()
        assert device.version() == "2"

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"current": 1}'])
    def test_that_spoilt_the_list_of_versions_is_mended_by_the_server(
        self, device: PlayedDevice, content: bytes
    ) -> None:
        give(device, times(1), "1")
        (device.home / "versions.json").write_bytes(content)

        device.start()
        device.updater.poll()

        assert device.version() == "1"


class TestAFileThatIsNotTheManifests:
    def test_is_no_version_and_is_asked_for_again(self, device: PlayedDevice) -> None:
        device.server.offer(times(1), "1")
        (sha256,) = device.server.files
        device.server.files[sha256] = times(2)
        device.updater.poll()
        assert device.version() is None
        assert device.server.forgotten == 1

        device.server.files[sha256] = times(1)
        device.updater.poll()

        assert (device.version(), device.updater.outcome()) == ("1", (1, ""))

    def test_is_reported_once_it_has_come_too_often(self, device: PlayedDevice) -> None:
        device.server.offer(times(1), "1")
        (sha256,) = device.server.files
        device.server.files[sha256] = times(2)

        outcomes = []
        for _ in range(ATTEMPTS):
            device.updater.poll()
            outcomes.append(device.updater.outcome())

        assert outcomes[:-1] == [(None, "")] * (ATTEMPTS - 1)
        assert outcomes[-1][0] == 1
        assert "could not be downloaded" in outcomes[-1][1]

    def test_is_reported_also_where_its_download_breaks_off_at_the_same_place_each_time(
        self, device: PlayedDevice
    ) -> None:
        device.server.offer(times(1), "1")
        device.server.cut_at = 10

        for _ in range(1 + ATTEMPTS):
            device.updater.poll()

        assert device.updater.outcome() == (1, "it could not be downloaded: the download broke off")

    def test_is_on_its_way_where_each_download_gets_further(self, device: PlayedDevice) -> None:
        device.server.offer(times(1), "1")

        for place in range(2 * ATTEMPTS):
            device.server.cut_at = 1 + place
            device.updater.poll()

        assert device.updater.outcome() == (None, "")


def test_a_version_with_other_inputs_is_proved_by_invented_rows(device: PlayedDevice) -> None:
    give(device, times(1), "1")
    answer_well(device)

    give(device, summing_model(3), "2", signature=summing_signature(3))

    assert device.version() == "2"
