"""Segments of the spool, written and read."""

from pathlib import Path

from inference.prediction_log.spool.record import (
    FeatureColumn,
    LoggedBatch,
    encode_record,
)
from inference.prediction_log.spool.segments import (
    SpoolReader,
    SpoolWriter,
    open_spools,
)


def batch(name: str) -> LoggedBatch:
    return LoggedBatch(
        model_id=1,
        version_id=2,
        role="champion",
        generation=3,
        ids=[name],
        client_ids=[None],
        keyed=False,
        event_time_us=[4],
        received_us=5,
        latency_us=[6],
        features=[FeatureColumn("a", "f4", b"\0\0\x80?"), FeatureColumn("b", "s", ["x"])],
        prediction=["1"],
        probabilities=b"\0\0\0\0\0\0\x80?",
        subjects=None,
        tags=[{"region": "north"}],
    )


def append(writer: SpoolWriter, *names: str) -> None:
    for name in names:
        writer.append([encode_record(batch(name))], sync=False)


def ids(batches: list[LoggedBatch]) -> list[str]:
    return [batch.ids[0] for batch in batches]


def reader_of(home: Path) -> SpoolReader:
    [reader] = open_spools(home)
    return reader


def segment(home: Path, number: int) -> Path:
    return home / "spool" / "me" / f"{number:08d}.log"
