"""The spool keeps every acknowledged record, and each is read once."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from driftline.base.keys.home_keys import key_of_home
from inference.prediction_log.spool import segments as spool
from inference.prediction_log.spool.record import (
    ColumnKind,
    FeatureColumn,
    FeatureTable,
    LoggedBatch,
    decode_record,
    encode_record,
    feature_columns,
)
from inference.prediction_log.spool.segments import (
    SpoolReader,
    SpoolWriter,
    frame,
    open_spools,
    spooled_bytes,
)
from tests.inference.prediction_log.spool.segments import append, batch, ids, reader_of, segment


@pytest.fixture
def writer(tmp_path: Path) -> SpoolWriter:
    return SpoolWriter(tmp_path, "me")


class TestRecord:
    def test_comes_back_as_it_went(self) -> None:
        assert decode_record(encode_record(batch("a"))) == batch("a")

    @pytest.mark.parametrize("kind", ["f4", "f8", "i8"])
    def test_is_read_by_column_where_it_went_as_a_table(self, kind: ColumnKind) -> None:
        values = np.array([[1, 2, 3], [4, 5, 6]], kind)
        table = FeatureTable(["a", "b", "c"], kind, values.tobytes())

        found = decode_record(encode_record(msgspec.structs.replace(batch("a"), features=table)))

        assert isinstance(found, LoggedBatch)
        assert feature_columns(found.features) == [
            FeatureColumn(name, kind, values[:, place].tobytes()) for place, name in enumerate("abc")
        ]


class TestReading:
    def test_continues_where_it_stopped(self, tmp_path: Path, writer: SpoolWriter) -> None:
        reader = reader_of(tmp_path)
        append(writer, "a", "b")

        first, *position = reader.read(0, 0, 1 << 20)
        append(writer, "c")
        second, *position = reader.read(position[0], position[1], 1 << 20)
        third, *_ = reader.read(position[0], position[1], 1 << 20)

        assert (ids(first), ids(second), ids(third)) == (["a", "b"], ["c"], [])

    def test_stops_after_as_many_bytes_but_gives_one_record_at_least(
        self, tmp_path: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a", "b", "c")
        reader, segment, offset, seen = reader_of(tmp_path), 0, 0, []

        for _ in range(3):
            batches, segment, offset = reader.read(segment, offset, 1)
            seen.append(ids(batches))

        assert seen == [["a"], ["b"], ["c"]]

    def test_goes_over_segments_in_order(self, tmp_path: Path) -> None:
        writer = SpoolWriter(tmp_path, "me", segment_bytes=1)
        append(writer, "a", "b", "c")

        batches, number, _ = reader_of(tmp_path).read(0, 0, 1 << 20)

        assert ids(batches) == ["a", "b", "c"]
        assert number == 3

    def test_waits_for_a_record_that_a_living_writer_has_half_written(
        self, tmp_path: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a")
        whole = frame(encode_record(batch("b")))
        reader = reader_of(tmp_path)
        with segment(tmp_path, 1).open("ab") as file:
            file.write(whole[:-3])
            file.flush()
            before, number, offset = reader.read(0, 0, 1 << 20)
            file.write(whole[-3:])
        after, *_ = reader.read(number, offset, 1 << 20)

        assert (ids(before), ids(after), reader.torn) == (["a"], ["b"], 0)

    @pytest.mark.parametrize("tail", [b"\x05", b"\xff" * 8, b"\0" * 64, frame(b"payload")[:-1]])
    def test_skips_the_torn_tail_of_a_dead_writer(
        self, tmp_path: Path, writer: SpoolWriter, tail: bytes
    ) -> None:
        append(writer, "a")
        writer.close()
        with segment(tmp_path, 1).open("ab") as file:
            file.write(tail)
        reader = reader_of(tmp_path)

        batches, number, offset = reader.read(0, 0, 1 << 20)

        assert ids(batches) == ["a"]
        assert (number, offset, reader.torn) == (2, 0, 1)

    def test_skips_a_damaged_record_among_others(self, tmp_path: Path, writer: SpoolWriter) -> None:
        append(writer, "a", "b", "c")
        content = bytearray(segment(tmp_path, 1).read_bytes())
        content[len(content) // 2] ^= 1  # within the second of three records of one length
        segment(tmp_path, 1).write_bytes(content)
        reader = reader_of(tmp_path)

        batches, *_ = reader.read(0, 0, 1 << 20)

        assert ids(batches) == ["a", "c"]
        assert reader.torn == 1


class TestDiscarding:
    def test_deletes_what_is_consumed_and_keeps_the_rest(self, tmp_path: Path) -> None:
        writer = SpoolWriter(tmp_path, "me", segment_bytes=1)
        append(writer, "a", "b")
        reader = reader_of(tmp_path)

        reader.discard_before(2)
        batches, *_ = reader.read(2, 0, 1 << 20)

        assert reader.segments() == [2]
        assert ids(batches) == ["b"]

    def test_keeps_a_living_writers_folder(self, tmp_path: Path, writer: SpoolWriter) -> None:
        reader_of(tmp_path).discard_before(99)

        append(writer, "a")
        assert ids(reader_of(tmp_path).read(0, 0, 1 << 20)[0]) == ["a"]

    def test_removes_a_dead_writers_folder_once_all_is_consumed(
        self, tmp_path: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a")
        writer.close()
        reader = reader_of(tmp_path)

        _, number, _ = reader.read(0, 0, 1 << 20)
        reader.discard_before(number)

        assert list(open_spools(tmp_path)) == []
        assert not (tmp_path / "spool" / "me").exists()


class TestWriting:
    def test_counts_the_bytes_of_all_spools(self, tmp_path: Path, writer: SpoolWriter) -> None:
        append(writer, "a")
        other = SpoolWriter(tmp_path, "other")
        append(other, "b")

        assert spooled_bytes(tmp_path) == writer.written + other.written

    def test_leaves_a_segment_that_could_not_be_synced(self, tmp_path: Path, writer: SpoolWriter) -> None:
        append(writer, "a")
        writer.abandon_segment()
        append(writer, "b")

        assert ids(reader_of(tmp_path).read(0, 0, 1 << 20)[0]) == ["a", "b"]
        assert reader_of(tmp_path).segments() == [1, 2]


class TestReservedRoom:
    @pytest.fixture(params=["foreground", "background"])
    def writer(self, tmp_path: Path, request: pytest.FixtureRequest) -> SpoolWriter:
        return SpoolWriter(
            tmp_path,
            "me",
            segment_bytes=2_000,
            reserved_bytes=1_000,
            background_sync=request.param == "background",
        )

    def die(self, home: Path, writer: SpoolWriter) -> None:
        """Leave everything as it lies on the disk, in a folder whose lock nobody holds."""
        shutil.copytree(home / "spool" / "me", home / "spool" / "dead")
        shutil.rmtree(home / "spool" / "me")

    def test_is_not_read_as_records(self, tmp_path: Path, writer: SpoolWriter) -> None:
        names = [str(number) for number in range(100)]
        reader, number, offset, seen = reader_of(tmp_path), 0, 0, []

        for name in names:
            append(writer, name)
            batches, number, offset = reader.read(number, offset, 1 << 20)
            seen += ids(batches)

        assert (seen, reader.torn) == (names, 0)
        assert number > 3

    def test_hides_nothing_that_is_written_while_the_reader_looks(
        self, tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader, number, offset, written, seen = reader_of(tmp_path), 0, 0, 0, []

        def writing(look: Callable[..., Any]) -> Callable[..., Any]:
            def write_and_look(*given: Any) -> Any:
                nonlocal written
                append(writer, *[str(name) for name in range(written, written + 7)])
                written += 7
                return look(*given)

            return write_and_look

        for owner, name in (
            (SpoolReader, "is_writer_alive"),
            (SpoolReader, "segments"),
            (spool, "_read_position"),
        ):
            monkeypatch.setattr(owner, name, writing(getattr(owner, name)))
        for _ in range(10):
            batches, number, offset = reader.read(number, offset, 1 << 20)
            seen += [int(name) for name in ids(batches)]

        assert seen == list(range(len(seen)))
        assert len(seen) > 100

    def test_does_not_count_as_spooled(self, tmp_path: Path, writer: SpoolWriter) -> None:
        sizes = [spooled_bytes(tmp_path)]
        for name in "abcdefghijklmnopqrst":
            append(writer, name)
            sizes.append(spooled_bytes(tmp_path))

        assert sizes == sorted(set(sizes))
        assert sizes[-1] == writer.written < sum(path.stat().st_size for path in tmp_path.rglob("*.log"))

    def test_is_given_back_at_the_end(self, tmp_path: Path, writer: SpoolWriter) -> None:
        append(writer, "a")
        writer.close()

        assert segment(tmp_path, 1).stat().st_size == writer.written

    def test_keeps_nobody_from_removing_the_folder_of_a_writer_that_closed(
        self, tmp_path: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a")
        writer.close()
        reader = reader_of(tmp_path)

        _, number, _ = reader.read(0, 0, 1 << 20)
        reader.discard_before(number)

        assert list(open_spools(tmp_path)) == []

    def test_is_no_torn_record_of_a_writer_that_died(self, tmp_path: Path, writer: SpoolWriter) -> None:
        append(writer, "a", "b")
        self.die(tmp_path, writer)
        reader = reader_of(tmp_path)

        batches, number, offset = reader.read(0, 0, 1 << 20)

        assert ids(batches) == ["a", "b"]
        assert (number, offset, reader.torn) == (2, 0, 0)

    def test_holds_all_that_was_synced_though_the_position_is_lost(
        self, tmp_path: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a", "b")
        self.die(tmp_path, writer)
        (tmp_path / "spool" / "dead" / "lock").write_bytes(bytes(8))

        assert ids(reader_of(tmp_path).read(0, 0, 1 << 20)[0]) == ["a", "b"]

    def test_shows_a_record_that_its_writer_did_not_finish(self, tmp_path: Path, writer: SpoolWriter) -> None:
        append(writer, "a")
        with segment(tmp_path, 1).open("r+b") as file:
            file.seek(writer.written)
            file.write(frame(encode_record(batch("b")))[:-3])
        alive = reader_of(tmp_path).read(0, 0, 1 << 20)
        self.die(tmp_path, writer)
        reader = reader_of(tmp_path)
        dead = reader.read(0, 0, 1 << 20)

        assert (ids(alive[0]), alive[1:]) == (["a"], (1, writer.written))
        assert (ids(dead[0]), reader.torn) == (["a"], 1)

    def test_is_left_behind_with_a_segment_that_could_not_be_synced(
        self, tmp_path: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a")
        writer.abandon_segment()
        append(writer, "b")

        assert ids(reader_of(tmp_path).read(0, 0, 1 << 20)[0]) == ["a", "b"]
        assert spooled_bytes(tmp_path) == writer.written


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from inference.prediction_log.spool.segments import SpoolWriter
from inference.prediction_log.spool.record import encode_record
from tests.inference.prediction_log.spool.segments import batch
reserved_bytes, kind = int(sys.argv[2]), sys.argv[3]
options = {"reserved_bytes": reserved_bytes, "seals": kind == "sealed", "background_sync": kind == "background"}
writer = SpoolWriter(Path(sys.argv[1]), "me", 20_000, **options)
for number in range(10**9):
    writer.append([encode_record(batch(str(number)))], sync=number % 50 == 0)
    print(number, flush=True)  # the acknowledgement
"""


class TestKillingTheWriter:
    @pytest.mark.parametrize(
        ("reserved_bytes", "kind"), [(0, "plain"), (6_000, "plain"), (6_000, "sealed"), (6_000, "background")]
    )
    def test_loses_no_acknowledged_record_and_reads_each_once(
        self, tmp_path: Path, reserved_bytes: int, kind: str
    ) -> None:
        key_of_home(tmp_path, "log_key")
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path), str(reserved_bytes), kind],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1] if line]
        process.wait()
        process.stdout.close()
        reader, number, offset, seen = reader_of(tmp_path), 0, 0, []

        while (found := reader.read(number, offset, 1000))[0] or (number, offset) != found[1:]:
            seen += [int(name) for name in ids(found[0])]
            number, offset = found[1:]
            reader.discard_before(number)

        assert len(acknowledged) >= 300
        assert seen == list(range(len(seen)))
        assert len(seen) >= len(acknowledged)
        assert not (tmp_path / "spool" / "me").exists()
