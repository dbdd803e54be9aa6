"""The machine that measured, in one line: latencies mean nothing without it."""

import functools
import os
import platform
from pathlib import Path

import onnxruntime as ort


@functools.cache
def machine() -> str:
    """Name the processor, how many of them this process may use, the system, and ONNX Runtime."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return f"{_processor()}, {cores} cores, {system}, ONNX Runtime {ort.__version__}"[:200]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")
