"""What comparing a day in all features together costs, how often a quiet day is flagged, and which changes are found.

`python -m tests.performance.joint_bench [--windows N]`: a reference of 20,000 rows of 30 features (27 numbers, of which
two go together, two categories and one of 20,000 levels) and windows of 5,000 rows. Processor time of one thread.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.joint.judging import (
    JOINT_KERNELS,
    MAX_ROWS,
    JointNull,
    draw_joint_null,
    joint_size,
    judge_jointly,
)
from monitors.stats.joint.rows import JointEncoding, JointRows

NUMBERS, ROWS, OF_REFERENCE = 27, 5_000, 20_000
TOGETHER = 0.7


def columns(rows: int, rng: np.random.Generator, *, together: float = TOGETHER) -> dict[str, NDArray[Any]]:
    """Make rows whose first two numbers have this correlation."""
    table = rng.normal(size=(rows, NUMBERS))
    table[:, 1] = together * table[:, 0] + np.sqrt(1 - together**2) * table[:, 1]
    made: dict[str, NDArray[Any]] = {f"x{place}": table[:, place] for place in range(NUMBERS)}
    made["region"] = np.array(rng.choice(["north", "south", "east"], rows), object)
    made["plan"] = np.array(rng.choice(list("abcdefghij"), rows), object)
    made["who"] = np.array([f"user {number}" for number in rng.integers(0, 20_000, rows)], object)
    return made


def flags(
    encoding: JointEncoding, sample: JointRows, null: JointNull, windows: list[dict[str, NDArray[Any]]]
) -> tuple[dict[str, int], list[float]]:
    """Count the windows that each kernel flags, and time each window."""
    flagged, seconds = dict.fromkeys(JOINT_KERNELS, 0), []
    for number, window in enumerate(windows):
        began = time.process_time()
        hours = np.arange(len(window["who"])) * 24 // len(window["who"])
        rows = encoding.encode(window, sample.names, hours)
        rows = rows.sample(joint_size(len(rows)), np.random.default_rng(number))
        for name, kernel in JOINT_KERNELS.items():
            judged = judge_jointly(name, kernel.measure(sample, rows), null)
            flagged[name] += judged is not None and judged.drifted
        seconds.append(time.process_time() - began)
    return flagged, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100)
    windows = parser.parse_args().windows
    rng = np.random.default_rng(0)
    reference = columns(OF_REFERENCE, rng)
    encoding = JointEncoding.learn(reference)
    rows = encoding.encode(reference, tuple(reference), np.arange(OF_REFERENCE) // 30)
    sample = rows.sample(MAX_ROWS, rng)
    flags(
        encoding, sample, JointNull(dict.fromkeys(JOINT_KERNELS, np.array([0.0, 1.0])), ""), [reference]
    )  # loads
    began = time.process_time()
    null = draw_joint_null(rows, joint_size(ROWS), by_day=False, rng=rng)
    print(f"null distributions of a reference: {time.process_time() - began:.1f} s")
    for what, together, count in (("quiet", TOGETHER, windows), ("correlation 0.7 to 0.3", 0.3, 20)):
        made = [columns(ROWS, rng, together=together) for _ in range(count)]
        flagged, seconds = flags(encoding, sample, null, made)
        told = ", ".join(f"{name} {number}" for name, number in flagged.items())
        print(f"{what}: flagged of {count}: {told}; {statistics.median(seconds):.2f} s a window")


if __name__ == "__main__":
    main()
