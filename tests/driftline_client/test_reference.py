"""The reference of a version, uploaded as files and frames through the real API."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from driftline_client import DriftlineError, references
from inference.prediction_log.imports.models import UploadedFile
from monitors.definitions.models import Reference
from tests.driftline_client.platform import Platform

RNG = np.random.default_rng(7)
TRAINING = pd.DataFrame(
    {
        "delay": RNG.normal(size=300),
        "carrier": RNG.choice(["AA", "UA"], 300),
        "label": RNG.integers(0, 2, 300),
        "prediction": RNG.integers(0, 2, 300),
    }
)


@pytest.fixture
def flights(platform: Platform) -> Any:
    with platform.open("flights") as flights:
        flights.log(features={"delay": 1.0, "carrier": "AA"}, prediction=1)
        assert flights.flush(20)
        yield flights


class TestReference:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "write",
        [
            lambda folder: TRAINING.to_csv(folder / "training.csv", index=False) or folder / "training.csv",
            lambda folder: (
                TRAINING.to_parquet(folder / "training.parquet") or str(folder / "training.parquet")
            ),
            lambda folder: TRAINING,
            lambda folder: pa.Table.from_pandas(TRAINING),
        ],
        ids=["csv", "parquet", "pandas", "arrow"],
    )
    def test_is_made_of_a_file_or_a_frame(self, flights: Any, tmp_path: Path, write: Any) -> None:
        found = flights.reference(write(tmp_path))

        assert (found.version, found.rows) == ("1", 300)
        assert set(found.columns) == {"delay", "carrier", "label", "prediction"}

    @pytest.mark.slow
    def test_says_which_class_its_probability_is_of(self, flights: Any) -> None:
        flights.reference(TRAINING.assign(probability=0.5), positive_class="0")

        assert Reference.objects.get().version.signature["positive_class"] == "0"

    @pytest.mark.slow
    def test_goes_as_csv_where_pandas_has_no_pyarrow(
        self, flights: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(references, "load", lambda package: None)

        assert flights.reference(TRAINING).rows == 300

    @pytest.fixture
    def worker(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Stands for the worker that builds references: it gets its turn while the client waits."""

        def ends(**state: str) -> None:
            monkeypatch.setattr(references, "sleep", lambda _: Reference.objects.update(**state))

        return ends

    @pytest.mark.slow
    def test_is_waited_for(self, flights: Any, worker: Any) -> None:
        worker(state="ready")

        assert flights.reference(TRAINING).state == "building"
        assert flights.reference(TRAINING, wait_s=20).state == "ready"

    @pytest.mark.slow
    def test_that_fails_meanwhile_is_told(self, flights: Any, worker: Any) -> None:
        worker(state="failed", error="The column delay is empty.")

        with pytest.raises(DriftlineError, match="column delay is empty"):
            flights.reference(TRAINING, wait_s=20)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("training.xlsx", "neither .csv nor .parquet"),
            ("nowhere.csv", "cannot be read: No such file"),
            ([1, 2], "A list cannot be written"),
            (TRAINING[:0], "HTTP 4"),
        ],
    )
    def test_says_what_is_wrong_with_it(self, flights: Any, source: Any, words: str) -> None:
        with pytest.raises(DriftlineError, match=words):
            flights.reference(source)


class TestSendFile:
    SEMICOLONS = "row;approved;delay\n" + "\n".join(f"r{n};{n % 2};{n},5" for n in range(40))

    @pytest.mark.slow
    def test_maps_the_columns_of_a_file_as_people_have_it(self, flights: Any, tmp_path: Path) -> None:
        path = tmp_path / "training.csv"
        path.write_text(self.SEMICOLONS, encoding="utf-16")

        stored = flights.send_file(path, "reference", columns={"row": "ignored"})

        assert stored["reference"]["columns"] == ["delay", "label"]
        assert stored["reference"]["rows"] == 40

    @pytest.mark.slow
    def test_says_what_is_wrong_and_leaves_nothing_behind(self, flights: Any, tmp_path: Path) -> None:
        path = tmp_path / "training.csv"
        path.write_text(self.SEMICOLONS)

        with pytest.raises(DriftlineError, match="has no column 'aproved'; did you mean 'approved'"):
            flights.send_file(path, "reference", columns={"aproved": "label"})

        assert not UploadedFile.objects.exists()
        assert not Reference.objects.exists()
