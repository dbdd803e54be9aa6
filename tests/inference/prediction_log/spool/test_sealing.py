"""What is sealed opens with its key and not otherwise, and a sealed spool keeps every promise of a plain one."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.base.keys.home_keys import key_of_home
from inference.prediction_log.spool.record import decode_record, encode_record
from inference.prediction_log.spool.sealing import (
    KEY_FILE,
    KeyMissing,
    SegmentKey,
    Tampered,
    key_path,
    new_data_key,
    open_sealed,
    seal,
    unwrap_key,
    wrap_key,
)
from inference.prediction_log.spool.segments import FRAME, SpoolUnwritable, SpoolWriter, frame, spooled_bytes
from tests.inference.prediction_log.spool.segments import append, batch, ids, reader_of, segment

KEY, OTHER_KEY = new_data_key(), new_data_key()


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    key_of_home(tmp_path, "log_key")
    return tmp_path


@pytest.fixture
def writer(home: Path) -> SpoolWriter:
    return SpoolWriter(home, "me", seals=True)


class TestSealing:
    @given(content=st.binary(max_size=200))
    def test_gives_back_what_was_sealed(self, content: bytes) -> None:
        assert open_sealed(KEY, seal(KEY, content, b"here"), b"here") == content

    @given(content=st.binary(max_size=200), data=st.data())
    def test_refuses_any_flipped_bit(self, content: bytes, data: st.DataObject) -> None:
        sealed = seal(KEY, content, b"here")
        bit = data.draw(st.integers(0, 8 * len(sealed) - 1))

        with pytest.raises(Tampered):
            open_sealed(KEY, flipped(sealed, bit), b"here")

    def test_refuses_another_key_another_context_and_less(self) -> None:
        sealed = seal(KEY, b"content", b"here")

        for key, content, context in (
            (OTHER_KEY, sealed, b"here"),
            (KEY, sealed, b"there"),
            (KEY, sealed[:-1], b"here"),
            (KEY, b"", b"here"),
        ):
            with pytest.raises(Tampered):
                open_sealed(key, content, context)


class TestSealingRecords:
    @given(payload=st.binary(max_size=200), offset=st.integers(0, 1 << 40))
    def test_gives_back_what_was_sealed(self, payload: bytes, offset: int) -> None:
        assert SegmentKey(KEY).open(SegmentKey(KEY).seal(payload, offset), offset) == payload

    @given(payload=st.binary(max_size=200), data=st.data())
    def test_refuses_any_flipped_bit(self, payload: bytes, data: st.DataObject) -> None:
        sealed = SegmentKey(KEY).seal(payload, 0)
        bit = data.draw(st.integers(0, 8 * len(sealed) - 1))

        with pytest.raises(Tampered):
            SegmentKey(KEY).open(flipped(sealed, bit), 0)


class TestWrapping:
    def test_gives_back_the_key_also_under_a_newer_master_key(self, home: Path) -> None:
        wrapped = wrap_key(home, KEY)

        (home / KEY_FILE).write_text(f"newer\n{(home / KEY_FILE).read_text()}")

        assert unwrap_key(home, wrapped) == KEY
        assert unwrap_key(home, wrap_key(home, OTHER_KEY)) == OTHER_KEY

    def test_says_which_master_key_is_missing(self, home: Path) -> None:
        wrapped = wrap_key(home, KEY)

        (home / KEY_FILE).write_text("another")

        with pytest.raises(KeyMissing, match=wrapped[:8].hex()):
            unwrap_key(home, wrapped)

    def test_refuses_a_key_that_was_changed(self, home: Path) -> None:
        wrapped = wrap_key(home, KEY)

        with pytest.raises(KeyMissing, match="damaged"):
            unwrap_key(home, flipped(wrapped, 8 * len(wrapped) - 1))


class TestSealedSpool:
    def test_shows_nothing_of_its_records(self, home: Path, writer: SpoolWriter) -> None:
        append(writer, "canary")

        assert all(b"canary" not in path.read_bytes() for path in home.rglob("*") if path.is_file())
        payload = segment(home, 1).read_bytes()[FRAME.size :]
        with pytest.raises(msgspec.DecodeError):
            decode_record(payload)
        assert ids(reader_of(home).read(0, 0, 1 << 20)[0]) == ["canary"]

    def test_is_read_record_by_record_over_segments_each_with_a_key_of_its_own(self, home: Path) -> None:
        writer = SpoolWriter(home, "me", segment_bytes=150, seals=True)
        append(writer, "a", "b", "c", "d")
        reader, number, offset, seen = reader_of(home), 0, 0, []

        for _ in range(4):
            records, number, offset = reader.read(number, offset, 1)
            seen += ids(records)

        assert seen == ["a", "b", "c", "d"]
        assert len({key_path(segment(home, one)).read_bytes() for one in reader.segments()}) == 2

    def test_takes_several_records_at_once(self, home: Path, writer: SpoolWriter) -> None:
        writer.append([encode_record(batch(name)) for name in "abc"], sync=True)

        assert ids(reader_of(home).read(0, 0, 1 << 20)[0]) == ["a", "b", "c"]
        assert spooled_bytes(home) == writer.written

    def test_skips_and_counts_the_torn_record_of_a_dead_writer(self, home: Path, writer: SpoolWriter) -> None:
        append(writer, "a", "b")
        writer.close()
        os.truncate(segment(home, 1), segment(home, 1).stat().st_size - 3)
        reader = reader_of(home)

        records, number, _ = reader.read(0, 0, 1 << 20)

        assert (ids(records), number, reader.torn) == (["a"], 2, 1)

    def test_refuses_a_changed_record_although_its_checksum_is_right(
        self, home: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a", "b", "c")
        frames = self.frames(home)
        frames[1] = frame(flipped(frames[1][FRAME.size :], 100))
        segment(home, 1).write_bytes(b"".join(frames))
        reader = reader_of(home)

        records, *_ = reader.read(0, 0, 1 << 20)

        assert (ids(records), reader.torn) == (["a", "c"], 1)

    def test_refuses_records_that_were_moved_or_written_by_another(
        self, home: Path, writer: SpoolWriter
    ) -> None:
        append(writer, "a", "b", "c")
        writer.close()
        first, second, last = self.frames(home)
        foreign = frame(encode_record(batch("foreign")))
        segment(home, 1).write_bytes(second + first + last + foreign)
        reader = reader_of(home)

        records, *_ = reader.read(0, 0, 1 << 20)

        assert (ids(records), reader.torn) == (["c"], 3)

    def frames(self, home: Path) -> list[bytes]:
        """Cut a segment into its three frames, which are of one length."""
        content = segment(home, 1).read_bytes()
        size = len(content) // 3
        return [content[start : start + size] for start in range(0, len(content), size)]

    def test_is_kept_while_its_master_key_is_away(self, home: Path, writer: SpoolWriter) -> None:
        append(writer, "a")
        master = (home / KEY_FILE).read_text()
        (home / KEY_FILE).write_text("another")

        with pytest.raises(KeyMissing):
            reader_of(home).read(0, 0, 1 << 20)
        (home / KEY_FILE).write_text(master)

        assert ids(reader_of(home).read(0, 0, 1 << 20)[0]) == ["a"]

    def test_is_read_up_to_the_segment_whose_key_is_gone(self, home: Path) -> None:
        writer = SpoolWriter(home, "me", segment_bytes=1, seals=True)
        append(writer, "a", "b")
        key_path(segment(home, 2)).unlink()

        records, number, offset = reader_of(home).read(0, 0, 1 << 20)

        assert (ids(records), number, offset) == (["a"], 2, 0)
        with pytest.raises(KeyMissing):
            reader_of(home).read(number, offset, 1 << 20)

    def test_takes_its_keys_along_when_it_is_discarded(self, home: Path) -> None:
        writer = SpoolWriter(home, "me", segment_bytes=1, seals=True)
        append(writer, "a", "b")

        reader_of(home).discard_before(2)

        assert {path.name for path in segment(home, 1).parent.iterdir()} == {
            "lock",
            segment(home, 2).name,
            key_path(segment(home, 2)).name,
        }

    def test_takes_nothing_in_plain_where_the_home_has_no_key(self, tmp_path: Path) -> None:
        writer = SpoolWriter(tmp_path, "me", seals=True)

        with pytest.raises(SpoolUnwritable, match="holds no key"):
            append(writer, "a")

        assert spooled_bytes(tmp_path) == 0
