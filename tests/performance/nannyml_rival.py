"""NannyML 0.13.1 in an environment of its own, asked about the rows that ours is asked about.

It takes neither our Python nor our packages, so `peers/install` makes `.bench-peers/nannyml`, and one process of it
answers through a pipe; frames go as Parquet files.

    with nannyml_rival() as nannyml:
        cbpe = nannyml.fit("CBPE", reference, metrics=["f1"], ..., chunk_size=5_000)
        chunks = cbpe.measure(later)  # a row a chunk, columns `key`, `f1.value`, `f1.alert` ...
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tests.performance.peer_servers import SOURCES, Environment


@dataclass(frozen=True, eq=False)
class Fitted:
    """A calculator or estimator of NannyML that has seen its reference."""

    rival: "Rival"
    number: int

    def measure(self, later: pd.DataFrame) -> pd.DataFrame:
        """Give one row for each chunk of `later`."""
        return pd.DataFrame(self.rival.ask({"number": self.number}, later)["chunks"])

    def distances(self, chunk: pd.DataFrame) -> dict[str, list[float | None]]:
        """Give a drift calculator's statistics of some of its columns in one chunk: a value per method."""
        answer: dict[str, list[float | None]] = self.rival.ask(
            {"number": self.number, "distances": True}, chunk
        )["distances"]
        return answer


@dataclass(frozen=True, eq=False)
class Rival:
    """A running process of NannyML."""

    process: "subprocess.Popen[str]"
    folder: Path

    def fit(self, kind: str, reference: pd.DataFrame, **arguments: Any) -> Fitted:
        """Make one of NannyML's classes, such as `UnivariateDriftCalculator`, with its own arguments."""
        return Fitted(self, self.ask({"fit": kind, "arguments": arguments}, reference)["number"])

    def ask(self, question: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
        path = self.folder / "rows.parquet"
        rows.to_parquet(path, index=False)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question | {"rows": str(path)}), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"error": "It ended."}')
        if "error" in answer:
            raise RuntimeError(f"NannyML: {answer['error']}")
        return answer


@contextmanager
def nannyml_rival() -> Iterator[Rival]:
    """Install NannyML where it is not there yet, and run it until the block ends."""
    own = Environment("nannyml")
    own.install("nannyml")
    command = [str(own.python), str(SOURCES / "nannyml_peer.py")]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=own.variables(),
        )
        with process:  # which closes its input; it ends then
            yield Rival(process, Path(folder))


def shipped(name: str) -> pd.DataFrame:
    """Read a data set that NannyML ships, such as `synthetic_car_loan_reference.csv`."""
    own = Environment("nannyml")
    own.install("nannyml")
    path = own.packages() / "nannyml" / "datasets" / "data" / name
    return pd.read_parquet(path) if path.suffix == ".pq" else pd.read_csv(path)
