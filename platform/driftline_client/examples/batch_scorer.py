"""A nightly job that scores a file with Polars and tells Driftline every score, and later every outcome.

    export DRIFTLINE_URL=https://driftline.example.org DRIFTLINE_TOKEN=dl_...   # scopes: log, label, write
    python batch_scorer.py reference training.csv
    python batch_scorer.py score customers.csv scored.parquet
    python batch_scorer.py label outcomes.csv

The rows have an `id` of their own, so running a step again keeps no row twice.
"""

import sys

import polars as pl

import driftline_client
from driftline_client import FrameResult, ModelHandle

FEATURES = ["age", "income", "plan"]


def score(customers: pl.DataFrame) -> pl.DataFrame:
    """Add the probability that a customer leaves, and the decision; your own model stands here."""
    pull = 2.0 - pl.col("income") / 20_000 - pl.col("age") / 40 + (pl.col("plan") == "basic").cast(pl.Float64)
    return customers.with_columns(probability=1 / (1 + (-pull).exp())).with_columns(
        prediction=(pl.col("probability") >= 0.5).cast(pl.Int8)
    )


def main(step: str, source: str, target: str = "") -> FrameResult | None:
    """Do one step, with the file `source`."""
    with driftline_client.model("churn", version="2026-01", task="binary") as churn:
        frame = pl.read_csv(source, try_parse_dates=True)
        if step == "reference":
            churn.reference(frame)
            return None
        if step == "label":
            return report(churn.label_frame(frame, id="id", label="left", progress=show))
        scored = score(frame)
        scored.write_parquet(target)
        return report(log(churn, scored))


def log(churn: ModelHandle, scored: pl.DataFrame) -> FrameResult:
    """Log each row; its age, income and plan are the features."""
    return churn.log_frame(
        scored,
        id="id",
        timestamp="seen_at",
        features=FEATURES,
        prediction="prediction",
        probabilities="probability",
        progress=show,
    )


def show(done: int, total: int) -> None:
    """Show how far it is."""
    print(f"{done:,} of {total:,} rows", file=sys.stderr)


def report(result: FrameResult) -> FrameResult:
    """Return what became of the rows, and which were refused."""
    print(f"{result.accepted:,} accepted, {result.duplicates:,} known already, {result.rejected:,} refused")
    for row, fault in result.faults.items():
        print(f"row {row}: {fault.detail}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
