"""Names of processes by which others on the same machine see that one has ended, however it ended."""

import os
import socket
from pathlib import Path

MAX_LENGTH = 100
_ENDED = "ZX"  # states of one that its parent has not noted yet


def own_name() -> str:
    """Name this process by its machine, its number, and when it started, for numbers are given again.

    Empty where the system does not say when a process started.
    """
    started = _start_of(os.getpid())
    return f"{_machine()} {os.getpid()} {started}" if started else ""


def has_ended(name: str) -> bool:
    """Return whether a process of this machine has ended; of those elsewhere nothing is known."""
    machine, *numbers = name.rsplit(" ", 2)
    if machine != _machine() or len(numbers) != 2:
        return False
    pid, started = numbers
    return _start_of(int(pid)) != started


def _machine() -> str:
    """Name the machine and the namespace of its numbers, as containers of one machine have numbers of their own."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()[: MAX_LENGTH - 60]}/{namespace}"


def _start_of(pid: int) -> str:
    """Return in which tick since the start of the system a process started; empty where none runs."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    fields = status.rpartition(")")[2].split()  # the name of the program before it may have spaces
    return "" if fields[0] in _ENDED else fields[19]
