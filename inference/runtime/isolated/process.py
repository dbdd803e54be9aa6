"""The process of one version, as seen from the serving process: what is under way in it, and how it ends."""

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from driftline.base.errors import UNREADABLE
from inference.runtime.isolated.areas import KEPT_BYTES, Area, TooLarge, make_area, make_memory
from inference.runtime.isolated.child import LoadOrder, LoadReport
from inference.runtime.isolated.errors import ModelFailed, ProcessDied, RunAbandoned
from inference.runtime.isolated.messages import (
    ANSWER,
    FROM_CHILD,
    HEAD_BYTES,
    MAX_TEXT_BYTES,
    STOP,
    VALUES,
    MessageKind,
    RunMessage,
    decode_message,
)
from inference.runtime.isolated.tensors import MAX_HEADER_BYTES, AreaLayout, BadTensors, read_arrays
from inference.runtime.session import Array, ModelRefused, RunOptions

STOP_SECONDS = 1.0  # for a run to end by itself once it was asked to
LOOK_SECONDS = 0.05


class ModelProcess:
    """A running process. Whoever uses it holds its version's lock, except for `kill` and `overrun_at`."""

    def __init__(self, pid: int, handle: int, channel: socket.socket, stopper: socket.socket) -> None:
        """Take over a process that was just forked; `handle` is its pidfd."""
        self.pid = pid
        self.overran = False  # it was killed because a run did not end
        self.is_exhausted = False  # a run failed for want of memory, which it may keep
        self.began_at = 0.0  # what is at work, or was last; both of the monotonic clock
        self.overrun_at = 0.0  # when that has taken too long; 0 while nothing is at work
        self.reader_of: asyncio.AbstractEventLoop | None = None  # the loop that watches the channel
        self.channel = channel
        self._handle = handle
        self._stopper = stopper
        channel.setblocking(False)
        stopper.setblocking(False)
        self._values = make_area(0)
        self._answer = make_area(0)
        self._number = 0
        self._wants_report = False

    @property
    def is_at_work(self) -> bool:
        """Return whether an answer is still to come."""
        return self.overrun_at > 0

    # Loading

    def load(
        self,
        model: bytes,
        provider: str,
        example: dict[str, Array],
        outputs: Sequence[str],
        seconds: float,
    ) -> LoadReport:
        """Load a model; raises ModelRefused, or ProcessDied where it takes longer than `seconds` or ends."""
        layout = AreaLayout(list(example.values()), len(model))
        order = msgspec.msgpack.encode(
            LoadOrder(len(model), provider, list(example), list(outputs), layout.headers)
        )
        size = layout.end + len(order)
        area = Area(make_memory(size))
        try:
            area.memory[: len(model)] = model
            layout.write(area.memory)
            area.memory[layout.end : size] = order
            self._begin(MessageKind.LOAD, layout.end, size, [area.handle], seconds)
        finally:
            area.close()
        self._wants_report = True
        try:
            while (report := self._receive()) is None:
                self._wait(LOOK_SECONDS)
        finally:
            self._wants_report = False
        assert isinstance(report, LoadReport)
        return report

    # Runs

    def begin(self, arrays: Sequence[Array], seconds: float) -> None:
        """Begin a run that may take so many seconds; raises TooLarge, ValueError, or ProcessDied where it has ended."""
        layout = AreaLayout(arrays)
        headers = layout.encode_headers()
        size = layout.end + len(headers)
        self._fit_areas(size)
        layout.write(self._values.memory)
        self._values.memory[layout.end : size] = headers
        self._begin(MessageKind.RUN, layout.end, size, [], seconds)

    def _fit_areas(self, size: int) -> None:
        """Bring the areas to the size that a run needs, and give back what only an earlier one did."""
        if size > self._values.size or self._values.size > max(KEPT_BYTES, 2 * size):
            self._values = make_area(size)
        if self._answer.size > KEPT_BYTES:
            self._answer = make_area(0)

    def _begin(self, kind: MessageKind, header_at: int, size: int, more: list[int], seconds: float) -> None:
        self._number += 1
        new = 0
        handles: list[int] = []
        if self._values.handle >= 0:
            new |= VALUES
            handles.append(self._values.handle)
        if self._answer.handle >= 0:
            new |= ANSWER
            handles.append(self._answer.handle)
        self._send(RunMessage(kind, self._number, header_at, size, new), [*handles, *more])
        if new:
            self._values.close_handle()
            self._answer.close_handle()
        self.began_at = time.monotonic()
        self.overrun_at = self.began_at + seconds

    def _send(self, message: RunMessage, handles: list[int]) -> None:
        try:
            if handles:
                socket.send_fds(self.channel, [message.encode()], handles)
            else:
                self.channel.send(message.encode())
        except OSError as error:
            raise ProcessDied("it takes no messages", is_end=True) from error

    def wait(self, options: RunOptions | None) -> list[Array]:
        """Wait for the answer of the run under way.

        Raises what it failed with; RunAbandoned where `options` ended it and it goes on; ProcessDied.
        """
        stopped_at = 0.0
        while (answer := self.receive()) is None:
            if options is not None and options.terminate:
                if not stopped_at:
                    stopped_at = time.monotonic()
                    self.stop_run()
                elif time.monotonic() - stopped_at > STOP_SECONDS:
                    raise RunAbandoned
            self._wait(LOOK_SECONDS)
        return answer

    def finish_abandoned(self, options: RunOptions | None) -> None:
        """Wait for the end of a run that was abandoned; raises RunAbandoned where `options` end the wait."""
        while self.is_at_work:
            if options is not None and options.terminate:
                raise RunAbandoned
            self._wait(LOOK_SECONDS)
            with suppress(ModelFailed, TooLarge):
                self.receive()

    def stop_run(self) -> None:
        """Ask the run under way to end before its next node."""
        with suppress(OSError):
            self._stopper.send(STOP.pack(self._number))

    def _wait(self, seconds: float) -> bool:
        """Wait for a message, at most so long."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def receive(self) -> list[Array] | None:
        """Read the answer of the run under way, None while there is none; raise what it failed with, or ProcessDied."""
        answer = self._receive()
        assert not isinstance(answer, LoadReport)
        return answer

    def _receive(self) -> list[Array] | LoadReport | None:
        message = self._read_message()
        if message is None:
            return None
        if message.kind is MessageKind.NEEDS_ROOM:
            self._make_room(message.size)
            return None
        self.overrun_at = 0.0
        if message.kind in (MessageKind.FAILED, MessageKind.EXHAUSTED):
            self.is_exhausted = message.kind is MessageKind.EXHAUSTED
            raise ModelFailed(message.text)
        if message.kind is MessageKind.REFUSED:
            raise ModelRefused(message.text)
        headers = self._copy_headers(message)
        try:
            if self._wants_report:
                return msgspec.msgpack.decode(headers, type=LoadReport)
            return read_arrays(self._answer.memory, headers)
        except (BadTensors, *UNREADABLE) as error:
            raise ProcessDied(f"its answer has no known form: {error}") from error

    def _read_message(self) -> RunMessage | None:
        try:
            data = self.channel.recv(HEAD_BYTES + MAX_TEXT_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ProcessDied("it closed its channel", is_end=True) from error
        if not data:
            raise ProcessDied("it closed its channel", is_end=True)
        try:
            message = decode_message(data)
        except ValueError as error:
            raise ProcessDied("it sent what is no message") from error
        if message.kind not in FROM_CHILD or message.run != self._number or not self.is_at_work:
            raise ProcessDied("it sent a message out of turn")
        return message

    def _copy_headers(self, message: RunMessage) -> bytes:
        """Copy the headers before they are read: the process can change them at any time."""
        start, end = message.header_at, message.size
        if not (start <= end <= self._answer.size and end - start <= MAX_HEADER_BYTES):
            raise ProcessDied("its answer lies beyond the memory for it")
        return bytes(self._answer.memory[start:end])

    def _make_room(self, size: int) -> None:
        try:
            larger = make_area(size)
        except TooLarge:
            self._send(RunMessage(MessageKind.ROOM, self._number), [])
            self.overrun_at = 0.0
            raise
        self._answer = larger
        self._send(RunMessage(MessageKind.ROOM, self._number), [larger.handle])
        larger.close_handle()

    # The end

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(0))

    def kill(self) -> None:
        """End the process at once; whoever waits for an answer notices."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        """Release what this process holds of it; the loop that watches the channel must have stopped to."""
        self.channel.close()
        self._stopper.close()
        self._values.close()
        self._answer.close()
        os.close(self._handle)
