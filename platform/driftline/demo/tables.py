"""The tables that the demo plays, as files beside it; `python -m tests.performance.demo_data` makes them."""

from pathlib import Path

import pandas as pd

DATA = Path(__file__).with_name("data")


def read_table(name: str) -> pd.DataFrame:
    return pd.read_parquet(DATA / f"{name}.parquet")
