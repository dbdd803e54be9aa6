"""Walls that a child raises around itself; each one tried, and reported where the system refuses it.

Order matters: the network namespace needs a process without threads, so before NumPy is imported; the file system
is closed after the last import; root is given up after that, and the wish to die with the parent is set later
still, because a change of user clears it; the filter of system calls comes last, as it forbids some of the others.

What holds where: on a machine of its own, as root or with user namespaces, all of them. In a container of the
usual kind the network namespace is refused (no CAP_SYS_ADMIN), and there the filter refuses every socket;
Landlock needs Linux 5.13, and without it the filter refuses every opening of a file. The filter knows x86-64 and
ARM64. Elsewhere the rlimits, the bare environment and the empty folder are what is left, and the report says so.
"""

import contextlib
import ctypes
import os
import platform
import resource
import struct
from collections.abc import Container, Iterable
from pathlib import Path

from driftline.base.processes.parent_death import die_with_parent
from driftline.base.processes.priority import lower_priority
from inference.registry.intake.limits import IntakeLimits
from inference.registry.intake.report import SandboxFacts

NOBODY = 65534
NICENESS = 10
FILE_CALLS = frozenset(
    ("open", "creat", "openat", "openat2", "unlink", "unlinkat", "rename", "renameat", "renameat2")
)
"""Calls that the filter refuses too, where nothing may be opened at all."""
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
_LANDLOCK_BENEATH = 1
# Rights of Landlock, by their bits.
_WRITE_FILE, _READ_FILE, _READ_FOLDER, _REMOVE_FOLDER, _REMOVE_FILE = (1 << bit for bit in (1, 2, 3, 4, 5))
_MAKE_FOLDER, _MAKE_FILE, _MOVE_BETWEEN_FOLDERS, _TRUNCATE = (1 << bit for bit in (7, 8, 13, 14))
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_FOLDER
_WRITE = (
    _READ | _OF_FILES | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE | _MOVE_BETWEEN_FOLDERS
)  # no links, sockets or pipes: whoever reads the folder later would follow them
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _LandlockRuleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _LandlockBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def raise_first_walls(limits: IntakeLimits) -> bool:
    """Raise what has to stand before the heavy imports; tells whether the network is out of reach."""
    limit_resources(limits)
    return leave_network()


def raise_last_walls(limits: IntakeLimits, *, network_isolated: bool) -> SandboxFacts:
    """Raise the other walls, after the last import, and tell which of all stand."""
    files_isolated = close_file_system()
    root_dropped = drop_root()
    forbid_processes()
    calls_filtered = filter_system_calls()
    return SandboxFacts(
        network_isolated=network_isolated or calls_filtered,
        files_isolated=files_isolated or calls_filtered,
        root_dropped=root_dropped,
        calls_filtered=calls_filtered,
        memory_bytes=limits.memory_bytes,
        load_cpu_s=limits.load_cpu_s,
        run_cpu_s=limits.run_cpu_s,
    )


def limit_resources(limits: IntakeLimits) -> None:
    """Cap memory, CPU time, written bytes and open files for good; no core dump. What is served comes first."""
    lower_priority(NICENESS, session=True)
    cpu_s = limits.load_cpu_s + limits.run_cpu_s
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.load_cpu_s, cpu_s + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.report_bytes, limits.report_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def allow_cpu(seconds: int) -> None:
    """Allow this process to use `seconds` of CPU time from now; SIGXCPU ends it after that."""
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


def close_file_system(*, readable: Iterable[Path] = (), writable: Iterable[Path] = ()) -> bool:
    """Deny every further opening of a file but those beneath the paths given (Landlock); False on kernels without it.

    What is `writable` may be read too.
    """
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1 or not _renounce_privileges():
        return False
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    ruleset = _LandlockRuleset((1 << rights) - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    handle = _libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if handle < 0:
        return False
    handled = (1 << rights) - 1
    for allowed, paths in ((_READ, readable), (_WRITE, writable)):
        for path in paths:
            _allow_beneath(handle, path, allowed & handled)
    restricted = _libc.syscall(_LANDLOCK_RESTRICT_SELF, handle, 0) == 0
    os.close(handle)
    return restricted


def _allow_beneath(ruleset: int, path: Path, allowed: int) -> None:
    """Add a rule for `path` and what is below it; what does not exist needs none."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = allowed if path.is_dir() else allowed & _OF_FILES
            rule = _LandlockBeneath(rights, folder)
            _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(folder)


def drop_root() -> bool:
    """Become nobody where we are root; True when this process is not root afterwards."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    return os.geteuid() != 0


def drop_capabilities() -> bool:
    """Drop every power of root but the ownership of its files; True when this process has none afterwards.

    For a process that still has to read what only its user can read, so that it cannot become nobody.
    """
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    return _libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) == 0


def forbid_processes() -> None:
    """Allow no new process or thread, and end with the parent."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    die_with_parent(os.getppid())


def filter_system_calls(*, allowed: Container[str] = (), threads: bool = False) -> bool:
    """Refuse sockets, new programs, processes and files, and whatever reaches into another process (seccomp).

    `allowed` names calls that pass all the same; with `threads` new threads pass, and new
    processes do not. False where the machine is neither x86-64 nor ARM64, or the kernel has no seccomp.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None or not _renounce_privileges():
        return False
    architecture, refused, own = machine
    thread_calls = (refused["clone"], refused["clone3"]) if threads else None
    refused = {name: number for name, number in refused.items() if name not in allowed}
    program = ctypes.create_string_buffer(
        _filter_program(architecture, refused, own, pid=os.getpid(), thread_calls=thread_calls)
    )
    header = _FilterProgram(len(program) // 8, ctypes.addressof(program))
    return _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(header), 0, 0) == 0


def _renounce_privileges() -> bool:
    """Drop what a set-user-id program could gain, without which no wall may be raised by a plain user."""
    return _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


# System call numbers: those that are refused, and those whose first argument must name this process.
_X86_64 = (
    {
        "open": 2, "creat": 85, "openat": 257, "openat2": 437, "open_by_handle_at": 304,
        "socket": 41, "socketpair": 53, "connect": 42, "bind": 49, "io_uring_setup": 425,
        "execve": 59, "execveat": 322, "fork": 57, "vfork": 58, "clone": 56, "clone3": 435,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kill": 62, "tkill": 200,
        "pidfd_open": 434, "unlink": 87, "unlinkat": 263, "rename": 82, "renameat": 264, "renameat2": 316,
        "unshare": 272, "setns": 308, "mount": 165, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "keyctl": 250, "add_key": 248, "request_key": 249, "pidfd_getfd": 438, "process_madvise": 440,
        "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "mq_open": 240, "setpriority": 141, "ioprio_set": 251,
        "sched_setaffinity": 203, "migrate_pages": 256, "move_pages": 279,
    },
    {"tgkill": 234, "prlimit64": 302},
)  # fmt: skip
_ARM64 = (
    {
        "openat": 56, "openat2": 437, "open_by_handle_at": 265,
        "socket": 198, "socketpair": 199, "connect": 203, "bind": 200, "io_uring_setup": 425,
        "execve": 221, "execveat": 281, "clone": 220, "clone3": 435,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kill": 129, "tkill": 130,
        "pidfd_open": 434, "unlinkat": 35, "renameat": 38, "renameat2": 276,
        "unshare": 97, "setns": 268, "mount": 40, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "keyctl": 219, "add_key": 217, "request_key": 218, "pidfd_getfd": 438, "process_madvise": 440,
        "shmget": 194, "shmat": 196, "semget": 190, "msgget": 186, "mq_open": 180, "setpriority": 140, "ioprio_set": 30,
        "sched_setaffinity": 122, "migrate_pages": 238, "move_pages": 239,
    },
    {"tgkill": 131, "prlimit64": 261},
)  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, *_X86_64), "aarch64": (0xC00000B7, *_ARM64)}
_X32_CALLS = 0x40000000  # x86-64's second set of numbers, which would pass by the first

# Classic BPF: load a word, jump if equal or at least, return a verdict.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # refused: EPERM
_NO_SUCH_CALL = 0x00050000 | 38  # ENOSYS: the C library then takes `clone`, whose flags a filter can read
_CLONE_THREAD = 0x00010000
_CALL, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets of what the kernel shows


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _filter_program(
    architecture: int,
    refused: dict[str, int],
    own: dict[str, int],
    *,
    pid: int,
    thread_calls: tuple[int, int] | None,
) -> bytes:
    """Assemble the filter: `refused` calls fail, `own` calls must name process 0 or `pid`, others pass.

    `thread_calls` are the numbers of clone and clone3, where new threads are allowed.
    """
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _CALL),
        (_JUMP_AT_LEAST, 0, 1, _X32_CALLS),
        (_RETURN, 0, 0, _REFUSE),
    ]
    if thread_calls is not None:
        clone, clone3 = thread_calls
        program += [
            (_JUMP_EQUAL, 0, 1, clone3),
            (_RETURN, 0, 0, _NO_SUCH_CALL),
            (_JUMP_EQUAL, 0, 4, clone),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_JUMP_SET, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    for call in refused.values():
        program += [(_JUMP_EQUAL, 0, 1, call), (_RETURN, 0, 0, _REFUSE)]
    for call in own.values():
        program += [
            (_JUMP_EQUAL, 0, 5, call),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_JUMP_EQUAL, 2, 0, 0),
            (_JUMP_EQUAL, 1, 0, pid),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
