"""A lender's own files, as a newcomer has them: semicolons, decimal commas, an id, and names of the lender's own."""

import csv
import math
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

DAYS, FAULTY_DAYS, ROWS_A_DAY = 10, 2, 400
NUMBERS = ("age", "income", "credit_score")
FEATURES = (*NUMBERS, "purpose", "partner")

type Row = dict[str, Any]


def applications(n: int, *, seed: int, is_broken: bool = False) -> list[Row]:
    """Make up applications with a model's score and what came of them; broken, partner B sends few credit scores."""
    rng = random.Random(seed)
    return [_application(rng, is_broken) for _ in range(n)]


def _application(rng: random.Random, is_broken: bool) -> Row:
    income, credit_score = round(rng.lognormvariate(10.5, 0.4), 2), round(rng.gauss(680, 60))
    partner = rng.choice("ABC")
    pull = (credit_score - 680) / 60 + (income - 36_000) / 20_000
    score = 1 / (1 + math.exp(-pull))
    is_missing = rng.random() < (0.9 if is_broken and partner == "B" else 0.02)
    return {
        "age": rng.randint(18, 80),
        "income": income,
        "credit_score": None if is_missing else credit_score,
        "purpose": rng.choice(["car", "home", "education"]),
        "partner": partner,
        "decision": int(score >= 0.5),
        "score": round(score, 4),
        "approved": int(rng.random() < score),
    }


def days_of_applications() -> Iterable[tuple[datetime, Row]]:
    """Give the rows of ten days, of which the last two are broken, and a row of now, with their times."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(DAYS):
        day = midnight - timedelta(days=DAYS - number)
        rows = applications(ROWS_A_DAY, seed=number + 1, is_broken=number >= DAYS - FAULTY_DAYS)
        for place, row in enumerate(rows):
            yield day + timedelta(seconds=86_400 * place / ROWS_A_DAY), row
    yield now, applications(1, seed=DAYS + 1)[0]


def write_training_file(path: Path) -> None:
    """Write what the model was trained on, as a spreadsheet exports it."""
    rows = applications(5_000, seed=0)
    _write_with_semicolons(
        path,
        [
            {"application_id": f"T{place:05d}"} | _without(row, "decision", "score")
            for place, row in enumerate(rows)
        ],
    )


def write_newer_file(path: Path) -> None:
    """Write ten days of decisions; their last two lack credit scores."""
    rows = [
        {"application_id": f"N{place:05d}", "decided_at": f"{time:%d.%m.%Y %H:%M:%S}"} | row
        for place, (time, row) in enumerate(list(days_of_applications())[:-1])
    ]
    _write_with_semicolons(path, rows)


def write_plain_file(path: Path) -> None:
    """Write the training data with commas, and only what the model sees."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FEATURES, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(applications(5_000, seed=0))


def train_onnx() -> bytes:
    """Train a model of the numbers on the training file and give it as ONNX, with an input for each column."""
    rows = applications(5_000, seed=0)
    inputs = np.array([[row[name] if row[name] is not None else np.nan for name in NUMBERS] for row in rows])
    pipeline = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500))
    pipeline.fit(inputs, [row["approved"] for row in rows])
    graph = to_onnx(
        pipeline,
        initial_types=[("applicant", FloatTensorType([None, len(NUMBERS)]))],
        options={"zipmap": False},
    )
    return bytes(graph.SerializeToString())


def _write_with_semicolons(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(rows[0])
        writer.writerows([_as_in_a_spreadsheet(value) for value in row.values()] for row in rows)


def _as_in_a_spreadsheet(value: object) -> object:
    return str(value).replace(".", ",") if isinstance(value, float) else value


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
