"""The code of the README and the guides, run as it stands against an installation, in the order of the index."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from driftline.base.periods import floor
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import Installation

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

CHECKOUT = Path(__file__).resolve().parents[3]
INDEX = (CHECKOUT / "docs/index.md").read_text()
PAGES = [CHECKOUT / "README.md"] + [
    CHECKOUT / f"docs/{name}.md" for name in re.findall(r"^guides/\S+$", INDEX, re.MULTILINE)
]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>sh|python)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
PROGRAMS = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [".venv/bin/python", "-c"]}


@dataclass(frozen=True)
class Block:
    """A piece of code in a page; `reason` says why it is not run."""

    page: str
    language: str
    code: str
    reason: str | None


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text()):
            yield Block(page.name, found["language"], found["code"], found["reason"])


def test_a_reader_can_run_the_code_of_the_guides(
    installation: Installation, tmp_path: Path, tell: Tell
) -> None:
    environment = prepare(tmp_path, installation)
    run = [block for block in blocks() if block.reason is None]
    assert len(run) > 10

    failures = [failure for block in run if (failure := failure_of(block, tmp_path, environment))]

    not_run = [f"{block.page} ({block.reason})" for block in blocks() if block.reason is not None]
    tell(f"{len(run)} blocks of code ran; {len(not_run)} did not: {', '.join(not_run)}")
    assert not failures, "\n\n".join(failures)


def failure_of(block: Block, folder: Path, environment: dict[str, str]) -> str:
    """Run a block; return what went wrong, with the block."""
    result = subprocess.run(
        [*PROGRAMS[block.language], block.code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode == 0:
        return ""
    return f"{block.page}:\n{block.code}\n{result.stdout}{result.stderr}"


def prepare(folder: Path, installation: Installation) -> dict[str, str]:
    """Make the files that the guides mention, and the environment in which their readers are."""
    for name in (".venv", "manage.py"):
        (folder / name).symlink_to(CHECKOUT / name)
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    rows = made_up_rows()
    rows.to_csv(folder / "training.csv", index=False)
    loans = rows.rename(columns={"label": "approved"}).assign(
        application_id=[f"A{n}" for n in range(len(rows))]
    )
    loans.to_csv(folder / "loans.csv", index=False)
    logged = rows.drop(columns="label").assign(version="1")
    logged.assign(id=[f"c-{number}" for number in range(len(rows))]).to_csv(
        folder / "predictions.csv", index=False
    )
    logged.assign(id=[f"p-{number}" for number in range(len(rows))]).to_parquet(
        folder / "predictions.parquet", index=False
    )
    model = train(rows)
    (folder / "model.onnx").write_bytes(model)
    (folder / "model-repository/churn/1").mkdir(parents=True)
    (folder / "model-repository/churn/1/model.onnx").write_bytes(model)
    (folder / "model-repository/churn/config.pbtxt").write_text('platform: "onnxruntime_onnx"\n')
    return installation.environment | {
        "PATH": f"{CHECKOUT / '.venv/bin'}:{os.environ['PATH']}",
        "CURL_HOME": str(folder),
        "DRIFTLINE_URL": f"http://127.0.0.1:{installation.port}",
        "DRIFTLINE_TOKEN": installation.token,
    }


def made_up_rows() -> pd.DataFrame:
    """Three days of applications, the last of which is over."""
    rng = np.random.default_rng(7)
    start = pd.Timestamp(floor(datetime.now(UTC), "day") - timedelta(days=4))
    income = rng.normal(40, 10, 600).round(2)
    probability = 1 / (1 + np.exp((40 - income) / 5))
    return pd.DataFrame(
        {
            "timestamp": pd.date_range(start, periods=600, freq="7min"),
            "income": income,
            "region": rng.choice(["north", "south"], 600),
            "prediction": (probability > 0.5).astype(int).astype(str),
            "probability": probability.round(4),
            "label": (rng.random(600) < probability).astype(int).astype(str),
        }
    )


def train(rows: pd.DataFrame) -> bytes:
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["region"]), remainder="passthrough"
    )
    fitted = make_pipeline(encode, LogisticRegression()).fit(rows[["income", "region"]], rows["label"])
    inputs = [("income", FloatTensorType([None, 1])), ("region", StringTensorType([None, 1]))]
    converted: bytes = to_onnx(fitted, initial_types=inputs, options={"zipmap": False}).SerializeToString()
    return converted
