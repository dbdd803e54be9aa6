"""The process of one version: loads a model, and runs what it finds in shared memory, one run at a time."""

import ctypes
import os
import resource
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from driftline.base.processes.parent_death import die_with_parent
from inference.runtime.isolated.areas import Area, open_area
from inference.runtime.isolated.messages import (
    ANSWER,
    HEAD_BYTES,
    STOP,
    VALUES,
    MessageKind,
    RunMessage,
    decode_message,
)
from inference.runtime.isolated.tensors import AreaLayout, TensorHeader, read_array, read_arrays
from inference.runtime.providers import Execution, open_with_provider
from inference.runtime.session import Array, ModelRefused, OnnxSession, RunOptions, first_line

PR_SET_NAME = 15
_NAME = b"driftline-model"
_NO_MEMORY = (
    "they make it work on more memory than the process of a model may have; send fewer rows at a time."
)


class LoadOrder(Struct, frozen=True):
    """What to load: the model is the first `model_bytes` of the memory that this lies in.

    `inputs` and `outputs` name the tensors in the order in which runs have them; `example` is a batch.
    """

    model_bytes: int
    provider: str
    inputs: list[str]
    outputs: list[str]
    example: list[TensorHeader]


class LoadReport(Struct, frozen=True):
    """What was loaded."""

    inputs: list[str]
    outputs: list[str]
    execution: Execution


class ChildServer:
    """Answers the messages of a serving process until it closes the channel."""

    def __init__(self, channel: socket.socket, stopper: socket.socket) -> None:
        self._channel = channel
        self._stopper = stopper
        self._options = RunOptions()
        self._run = 0  # the number of the run under way
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._session: OnnxSession | None = None
        self._values: Area | None = None
        self._answer: Area | None = None

    def serve(self) -> None:
        """Answer until the channel is closed."""
        threading.Thread(target=self._listen_for_stops, daemon=True).start()
        while True:
            data, handles, _, _ = socket.recv_fds(self._channel, HEAD_BYTES, 3)
            if not data:
                return
            message = decode_message(data)
            try:
                self._handle(message, handles)
            except ModelRefused as error:
                self._send(RunMessage(MessageKind.REFUSED, message.run, text=str(error)))
            except Exception as error:
                if isinstance(error, MemoryError) or "bad_alloc" in str(error):
                    self._send(RunMessage(MessageKind.EXHAUSTED, message.run, text=_NO_MEMORY))
                else:
                    text = str(error) or first_line(error)
                    self._send(RunMessage(MessageKind.FAILED, message.run, text=text))

    def _handle(self, message: RunMessage, handles: Sequence[int]) -> None:
        if message.kind is MessageKind.LOAD:
            self._replace_areas(message.areas, handles)
            self._load(message, open_area(handles[-1]))
        else:
            self._replace_areas(message.areas, handles)
            self._run_once(message)

    def _replace_areas(self, areas: int, handles: Sequence[int]) -> None:
        if not areas:
            return
        opened = iter(handles)
        if areas & VALUES:
            self._values = open_area(next(opened))
        if areas & ANSWER:
            self._answer = open_area(next(opened))

    def _load(self, message: RunMessage, area: Area) -> None:
        order = msgspec.msgpack.decode(bytes(area.memory[message.header_at : message.size]), type=LoadOrder)
        example = {
            name: read_array(area.memory, header).copy()
            for name, header in zip(order.inputs, order.example, strict=True)
        }
        model = bytes(area.memory[: order.model_bytes])
        del area
        self._session, execution = open_with_provider(model, order.provider, example, order.outputs)
        self._inputs, self._outputs = order.inputs, order.outputs
        report = LoadReport(self._session.input_names, self._session.output_names, execution)
        self._reply(message.run, AreaLayout([]), msgspec.msgpack.encode(report))

    def _run_once(self, message: RunMessage) -> None:
        assert self._session is not None
        assert self._values is not None
        memory = self._values.memory
        arrays = read_arrays(memory, bytes(memory[message.header_at : message.size]), trusted=True)
        if self._options.terminate:
            self._options = RunOptions()
        self._run = message.run
        try:
            inputs = dict(zip(self._inputs, arrays, strict=True))
            outputs: list[Any] = self._session.run(inputs, self._outputs, self._options)
        finally:
            self._run = 0
        layout = AreaLayout(
            [_checked(name, output) for name, output in zip(self._outputs, outputs, strict=True)]
        )
        self._reply(message.run, layout, layout.encode_headers())

    def _reply(self, run: int, layout: AreaLayout, headers: bytes) -> None:
        """Write an answer into the memory for it, once that has room."""
        assert self._answer is not None
        size = layout.end + len(headers)
        if size > self._answer.size:
            self._send(RunMessage(MessageKind.NEEDS_ROOM, run, size=size))
            _, handles, _, _ = socket.recv_fds(self._channel, HEAD_BYTES, 1)
            if not handles:  # there is to be no room: the serving process has said so to whoever asked
                return
            self._answer = open_area(handles[0])
        layout.write(self._answer.memory)
        self._answer.memory[layout.end : size] = headers
        self._send(RunMessage(MessageKind.ANSWER, run, layout.end, size))

    def _send(self, message: RunMessage) -> None:
        with suppress(BrokenPipeError):  # the serving process ends
            self._channel.send(message.encode())

    def _listen_for_stops(self) -> None:
        while data := self._stopper.recv(STOP.size):
            [run] = STOP.unpack(data)
            if run == self._run:
                self._options.terminate = True


def _checked(name: str, output: Any) -> Array:
    if not isinstance(output, np.ndarray):
        raise ValueError(f"Output {name!r} is no tensor.")
    return output


def run_child(channel: socket.socket, stopper: socket.socket, memory_bytes: int, parent: int) -> None:
    """Serve as the process of a version, within its bounds; ends with `parent`, which forked it."""
    die_with_parent(parent)
    ctypes.CDLL(None).prctl(PR_SET_NAME, _NAME)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel takes this process before any other
    ChildServer(channel, stopper).serve()


def exit_now(code: int) -> None:
    """End this process without the interpreter's clean-up, which belongs to the process that it was forked from."""
    os._exit(code)
