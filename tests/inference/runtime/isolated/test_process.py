"""A process that was taken over by its model sends what it likes: the serving process neither crashes nor waits."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inference.runtime.isolated.areas import FIRST_BYTES, MAX_AREA_BYTES, Area, TooLarge, make_memory
from inference.runtime.isolated.errors import ModelFailed, ProcessDied
from inference.runtime.isolated.messages import HEAD_BYTES, MessageKind, RunMessage
from inference.runtime.isolated.process import ModelProcess
from inference.runtime.isolated.tensors import TensorHeader

ROW = [np.ones((1, 3), np.float32)]


class Hostile:
    """A process as the serving process sees it, and its other end in the hands of the test."""

    def __init__(self) -> None:
        channel, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stopper, self.stopper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = ModelProcess(os.getpid(), os.pidfd_open(os.getpid()), channel, stopper)

    def begin(self) -> int:
        """Let a run begin, and give its number."""
        self.process.begin(ROW, 60.0)
        data, handles, _, _ = socket.recv_fds(self.channel, HEAD_BYTES, 3)
        for handle in handles:
            os.close(handle)
        return int(struct.unpack_from("<IIQ", data)[2])

    def write(self, data: bytes) -> None:
        """Write into the memory for the answer."""
        self.process._answer.memory[: len(data)] = data

    def close(self) -> None:
        self.process.close()
        self.channel.close()
        self.stopper.close()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    hostile = Hostile()
    yield hostile
    hostile.close()


class TestHostileMessages:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"short",
            b"\0" * HEAD_BYTES,
            b"\xff" * HEAD_BYTES,
            RunMessage(MessageKind.RUN, 1).encode(),
            RunMessage(MessageKind.ANSWER, 2).encode(),  # of another run
            RunMessage(MessageKind.ANSWER, 1, 0, FIRST_BYTES + 1).encode(),  # beyond the memory
            RunMessage(MessageKind.ANSWER, 1, 2**63, 2**63 + 8).encode(),
            RunMessage(MessageKind.ANSWER, 1, 8, 0).encode(),
            RunMessage(MessageKind.ANSWER, 1, 0, 8).encode(),  # zeros, which are no headers
        ],
    )
    def test_end_the_process_that_sent_them(self, hostile: Hostile, data: bytes) -> None:
        assert hostile.begin() == 1
        hostile.channel.send(data)

        with pytest.raises(ProcessDied):
            hostile.process.receive()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.binary(max_size=64), st.binary(max_size=64))
    @example(b"", b"\x91\x94\xa2\x00\x80")  # headers whose text is not UTF-8
    def test_raise_nothing_unexpected_whatever_their_bytes_are(
        self, hostile: Hostile, message: bytes, answer: bytes
    ) -> None:
        run = hostile.begin()
        hostile.write(answer)
        hostile.channel.send(message)
        with pytest.raises(ProcessDied):
            hostile.process.receive()

        run = hostile.begin()
        hostile.channel.send(RunMessage(MessageKind.ANSWER, run, 0, len(answer)).encode())
        with suppress(ProcessDied):
            hostile.process.receive()

    def test_twice_for_one_run_end_the_process(self, hostile: Hostile) -> None:
        run = hostile.begin()
        headers = msgspec.msgpack.encode([TensorHeader("FP32", [1], 64, 4)])
        hostile.write(headers)
        answer = RunMessage(MessageKind.ANSWER, run, 0, len(headers)).encode()
        hostile.channel.send(answer)
        hostile.channel.send(answer)

        assert hostile.process.receive() is not None
        with pytest.raises(ProcessDied, match="out of turn"):
            hostile.process.receive()

    def test_that_ask_for_too_much_room_fail_the_run(self, hostile: Hostile) -> None:
        run = hostile.begin()
        hostile.channel.send(RunMessage(MessageKind.NEEDS_ROOM, run, size=MAX_AREA_BYTES + 1).encode())

        with pytest.raises(TooLarge):
            hostile.process.receive()

    def test_of_a_failure_are_read_as_text(self, hostile: Hostile) -> None:
        run = hostile.begin()
        hostile.channel.send(RunMessage(MessageKind.FAILED, run).encode() + b"\xff\x00" * 10_000)

        with pytest.raises(ModelFailed, match="\ufffd"):
            hostile.process.receive()

    def test_that_do_not_come_leave_the_loop_free(self, hostile: Hostile) -> None:
        hostile.begin()

        assert hostile.process.receive() is None


class TestMemory:
    def test_cannot_be_cut_under_the_serving_process(self) -> None:
        """An access beyond the end of a mapped file ends the process that makes it."""
        handle = make_memory(8192)

        for size in (0, 4096, 16384):
            with pytest.raises(PermissionError):
                os.ftruncate(handle, size)
        Area(handle).close()
