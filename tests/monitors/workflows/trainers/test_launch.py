"""The training subprocess: what it leaves, what it may see, and how it ends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from monitors.workflows.trainers import catalogue
from monitors.workflows.trainers.job import Limits, TrainingJob
from monitors.workflows.trainers.launch import (
    TrainingFailed,
    TrainingTimedOut,
    read_result,
    run_trainer,
)
from tests.waiting import is_running

pytestmark = pytest.mark.slow


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Install a trainer of `misbehaving.py`, as an operator's package would."""

    def install(function: str) -> str:
        target = f"tests.monitors.workflows.trainers.misbehaving:{function}"
        monkeypatch.setitem(catalogue.SHIPPED, function, target)
        return function

    return install


def attempt(
    name: str, job: TrainingJob, workdir: Path, timeout: float = 60, limits: Limits | None = None
) -> None:
    run_trainer(name, job, workdir, timeout, allowed=[name], limits=limits or Limits())


class TestResult:
    def test_the_report_is_out_of_fold_and_the_reference_repeats_it(
        self, classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        result = run_trainer("lightgbm", classifier_job, tmp_path / "work", timeout=120)

        report = result.report
        reference = pd.read_parquet(result.reference_path)
        assert report.out_of_fold.grouped_by == "day"
        assert report.out_of_fold.days == 12
        assert report.out_of_fold.metrics["log_loss"] < report.out_of_fold.baseline["log_loss"]
        assert roc_auc_score(reference.label == "late", reference.probability) == pytest.approx(
            report.out_of_fold.metrics["roc_auc"], abs=1e-6
        )
        assert np.array_equal(reference.prediction == "late", reference.probability > 0.5)
        assert set(report.seconds) == {"load", "train", "convert", "evaluate"}
        assert read_result(tmp_path / "work") == result

    def test_the_metadata_is_what_an_upload_wants(self, classifier_job: TrainingJob, tmp_path: Path) -> None:
        result = run_trainer("sklearn_logistic_regression", classifier_job, tmp_path / "work", timeout=120)

        assert msgspec.to_builtins(result.metadata) == {
            "features": [
                {"name": "carrier", "type": "string"},
                {"name": "distance", "type": "int"},
                {"name": "temp", "type": "float"},
                {"name": "weekend", "type": "bool"},
            ],
            "outputs": {"prediction": "label", "probabilities": "probabilities"},
            "classes": ["late", "on_time"],
            "positive_class": "late",
            "missing": {"carrier": "missing"},
        }
        assert result.model_path.stat().st_size == result.report.parity.size_bytes

    def test_a_regressor_reports_its_error(self, regressor_job: TrainingJob, tmp_path: Path) -> None:
        result = run_trainer("lightgbm", regressor_job, tmp_path / "work", timeout=120)

        metrics = result.report.out_of_fold.metrics
        assert metrics["mae"] < result.report.out_of_fold.baseline["mae"]
        assert result.metadata.outputs.probabilities is None
        reference = pd.read_parquet(result.reference_path)
        assert np.abs(reference.label - reference.prediction).mean() == pytest.approx(metrics["mae"])


class TestEnding:
    def test_the_deadline_ends_the_trainer(
        self, misbehaving: Callable[[str], str], classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingTimedOut, match="20 s"):
            attempt(misbehaving("never_ends"), classifier_job, tmp_path / "work", timeout=20)

        pids = [int(pid) for pid in (tmp_path / "work" / "pids").read_text().split()]
        assert len(pids) == 1
        assert not any(is_running(pid) for pid in pids)

    def test_an_error_of_the_trainer_reaches_the_caller(
        self, misbehaving: Callable[[str], str], classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingFailed, match=r"(?s)exit 1.*ZeroDivisionError"):
            attempt(misbehaving("divides_by_zero"), classifier_job, tmp_path / "work")

    def test_data_that_cannot_train_gives_one_sentence(
        self, classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        job = msgspec.structs.replace(classifier_job, parameters={"tress": 1})

        with pytest.raises(TrainingFailed) as failure:
            attempt("lightgbm", job, tmp_path / "work")

        assert "InvalidTrainingData: lightgbm has no parameter 'tress'; use some of trees, min_leaf" in str(
            failure.value
        )
        assert "Traceback" not in str(failure.value)

    def test_a_model_that_cannot_be_converted_gives_one_sentence(
        self, misbehaving: Callable[[str], str], classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingFailed) as failure:
            attempt(misbehaving("cannot_be_converted"), classifier_job, tmp_path / "work")

        assert "DriftlineError: skl2onnx cannot convert Pipeline" in str(failure.value)
        assert "Traceback" not in str(failure.value)

    def test_memory_beyond_the_limit_fails_the_training(
        self, misbehaving: Callable[[str], str], classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingFailed, match="Unable to allocate"):
            attempt(
                misbehaving("takes_four_gigabytes"),
                classifier_job,
                tmp_path / "work",
                limits=Limits(memory_mb=3_000),
            )

    def test_processor_time_beyond_the_limit_ends_the_trainer(
        self, misbehaving: Callable[[str], str], classifier_job: TrainingJob, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingFailed, match=r"was ended by SIG(XCPU|KILL)"):
            attempt(misbehaving("spins"), classifier_job, tmp_path / "work", limits=Limits(cpu_seconds=3))


class TestIsolation:
    def test_the_trainer_sees_no_credential_and_works_in_its_own_folder(
        self,
        misbehaving: Callable[[str], str],
        classifier_job: TrainingJob,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("DRIFTLINE_DATABASE_URL", "postgresql://secret")
        monkeypatch.setenv("DRIFTLINE_SECRET_KEY", "secret")
        monkeypatch.setenv("PGPASSWORD", "secret")

        with pytest.raises(TrainingFailed):
            attempt(misbehaving("tells_what_it_sees"), classifier_job, tmp_path / "work")

        seen = json.loads((tmp_path / "work" / "seen.json").read_text())
        assert seen["cwd"] == seen["environment"]["HOME"] == str(tmp_path / "work")
        assert not [name for name, value in seen["environment"].items() if "secret" in value]
        assert not [name for name in seen["environment"] if name.startswith(("DRIFTLINE", "PG", "DJANGO"))]
        assert "django" not in seen["modules"]

    def test_a_folder_in_use_is_refused(self, classifier_job: TrainingJob, tmp_path: Path) -> None:
        (tmp_path / "left-over").write_text("of an earlier attempt")

        with pytest.raises(TrainingFailed, match="not empty"):
            attempt("lightgbm", classifier_job, tmp_path)

    def test_launching_imports_no_machine_learning_library(self) -> None:
        heavy = ("sklearn", "lightgbm", "pandas", "onnxruntime", "django")
        code = (
            f"import sys, monitors.workflows.trainers.launch; print([m for m in {heavy} if m in sys.modules])"
        )

        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout

        assert printed.strip() == "[]"
