"""Walls that the child raises around itself; each one tried, and reported where the system refuses it.

Order matters: the network namespace needs a process without threads, so before NumPy is imported; the file system
is closed after the last import; root is given up last, and the wish to die with the parent is set after that,
because a change of user clears it.
"""

import contextlib
import ctypes
import os
import resource
import signal

from inference.registry.intake.limits import IntakeLimits

NOBODY = 65534
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


class _LandlockRuleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


def limit_resources(limits: IntakeLimits) -> None:
    """Cap memory, CPU time, written bytes and open files for good; no core dump."""
    cpu_s = limits.load_cpu_s + limits.run_cpu_s
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.load_cpu_s, cpu_s + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.report_bytes, limits.report_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def allow_cpu(seconds: int) -> None:
    """Let this process use `seconds` of CPU time from now; SIGXCPU ends it after that."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    until = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (min(until, hard), hard))


def leave_network() -> bool:
    """Move to an empty network namespace; False where the system does not let us."""
    for flags in (os.CLONE_NEWNET, os.CLONE_NEWUSER | os.CLONE_NEWNET):
        with contextlib.suppress(OSError):
            os.unshare(flags)
            return True
    return False


def close_file_system() -> bool:
    """Deny every further opening of a file (Landlock, no rule allowed); False on kernels without it."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1 or _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    ruleset = _LandlockRuleset((1 << rights) - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    handle = _libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if handle < 0:
        return False
    restricted = _libc.syscall(_LANDLOCK_RESTRICT_SELF, handle, 0) == 0
    os.close(handle)
    return restricted


def drop_root() -> bool:
    """Become nobody where we are root; True when this process is not root afterwards."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    return os.geteuid() != 0


def forbid_processes() -> None:
    """Allow no new process or thread, and end with the parent."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
