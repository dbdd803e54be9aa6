"""Bringing a file to the disk without holding up the event loop.

The kernel's asynchronous fdatasync costs no thread, and so no fight for the interpreter: a thread may wait for
it as long as the disk takes. Where the kernel does not offer it, a thread does the work.
"""

import asyncio
import ctypes
import errno
import os
import platform
import struct
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

Done = Callable[[int], None]  # takes an errno, 0 for success; called in the event loop

_CONTROL_BLOCK = struct.Struct("<QIiHhIQQqQII")  # struct iocb of linux/aio_abi.h
_EVENT = struct.Struct("<QQqq")  # struct io_event
_FDSYNC = 3
_NOTIFY_EVENTFD = 1
_SYSTEM_CALLS = {  # io_setup, io_destroy, io_getevents, io_submit
    "x86_64": (206, 207, 208, 209),
    "aarch64": (0, 1, 4, 2),
}


class DiskSync(Protocol):
    """Syncs one file at a time."""

    def start(self, handle: int, done: Done) -> None:
        """Sync the file and call `done`; the one before must have been done."""

    def close(self) -> None:
        """Release what the syncs needed; none may be on its way."""


class KernelSync:
    """The kernel's own asynchronous fdatasync (Linux >= 4.18)."""

    def __init__(self) -> None:
        """Set up the kernel's queue; raises OSError where there is none."""
        calls = _SYSTEM_CALLS.get(platform.machine())
        if calls is None:
            raise OSError(f"asynchronous sync is not known on {platform.machine()}")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._setup, self._destroy, self._get_events, self._submit = (ctypes.c_long(call) for call in calls)
        self._queue = ctypes.c_ulong(0)
        self._call(self._setup, ctypes.c_long(1), ctypes.byref(self._queue))
        self._notice = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._block = ctypes.create_string_buffer(_CONTROL_BLOCK.size)
        self._blocks = (ctypes.c_void_p * 1)(ctypes.addressof(self._block))
        self._event = ctypes.create_string_buffer(_EVENT.size)
        self._one = ctypes.c_long(1)
        self._done: Done | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._notice, self._collect)

    def start(self, handle: int, done: Done) -> None:
        self._done = done
        _CONTROL_BLOCK.pack_into(
            self._block, 0, 1, 0, 0, _FDSYNC, 0, handle, 0, 0, 0, 0, _NOTIFY_EVENTFD, self._notice
        )
        try:
            self._call(self._submit, self._queue, self._one, self._blocks)
        except OSError as error:
            self._loop.call_soon(done, error.errno or errno.EIO)

    def _collect(self) -> None:
        os.eventfd_read(self._notice)
        self._call(self._get_events, self._queue, self._one, self._one, self._event, None)
        _, _, result, _ = _EVENT.unpack(self._event.raw)
        assert self._done is not None
        self._done(-result)

    def close(self) -> None:
        self._loop.remove_reader(self._notice)
        self._call(self._destroy, self._queue)
        os.close(self._notice)

    def _call(self, number: ctypes.c_long, *arguments: object) -> None:
        if self._libc.syscall(number, *arguments) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


class ThreadSync:
    """fdatasync in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[tuple[int, Done] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="disk-sync", daemon=True)
        self._thread.start()

    def start(self, handle: int, done: Done) -> None:
        try:
            self._requests.put((os.dup(handle), done))  # its owner may close it meanwhile
        except OSError as error:
            self._loop.call_soon(done, error.errno or errno.EIO)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            handle, done = request
            try:
                os.fdatasync(handle)
            except OSError as error:
                self._loop.call_soon_threadsafe(done, error.errno or errno.EIO)
            else:
                self._loop.call_soon_threadsafe(done, 0)
            finally:
                os.close(handle)

    def close(self) -> None:
        self._requests.put(None)
        self._thread.join()


def open_disk_sync() -> DiskSync:
    """Choose the kernel's way where it works, a thread elsewhere; needs the running event loop."""
    try:
        return KernelSync()
    except OSError:
        return ThreadSync()
