"""A variant on trial behind the intake's walls: what comes back of models that are kind, and of those that are not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from inference.registry.trials import NotBuilt, Questions, Trial, Unfit, try_variant
from inference.registry.trials.orders import LIMITS, Outcome, Packed, pack, unpack
from inference.runtime.session import OnnxSession
from tests.inference.onnx_models import failing_model, looping_model
from tests.inference.runtime.variants.small_models import forest, network, table

pytestmark = pytest.mark.slow

QUICK = structs.replace(LIMITS, load_cpu_s=4, run_cpu_s=1)


def tried(folder: Path, content: bytes, kind: str, rows: np.ndarray, *outputs: str) -> Outcome:
    path = folder / "model.onnx"
    path.write_bytes(content)
    questions = Questions({"X": pack(rows)}, {"X": pack(rows)}, is_made_up=False)
    return try_variant(path, kind, questions, list(outputs), limits=QUICK)


def test_a_variant_comes_back_with_its_answers_beside_the_originals(tmp_path: Path) -> None:
    rows = table()[0]

    trial = tried(tmp_path, network(), "fp16", rows, "label", "probabilities")

    assert isinstance(trial, Trial)
    assert trial.rows == len(rows)
    for content, told in ((network(), trial.original), (trial.content, trial.variant)):
        [probabilities] = OnnxSession(content).run({"X": rows}, ["probabilities"])
        assert unpack(told["probabilities"]) == pytest.approx(probabilities, abs=1e-6)
    assert [timing.rows for timing in trial.timings] == [1, 64]


def test_a_graph_that_offers_nothing_comes_back_with_the_reason(tmp_path: Path) -> None:
    outcome = tried(tmp_path, forest(), "int8_static", table()[0], "label")

    assert outcome == NotBuilt(
        "No MatMul, Gemm or Conv of the graph holds FP32 weights; its work is TreeEnsembleClassifier."
    )


def test_what_is_no_model_breaks_nothing(tmp_path: Path) -> None:
    outcome = tried(tmp_path, b"no model at all", "pruned_50", table()[0], "label")

    assert isinstance(outcome, NotBuilt)
    assert outcome.reason.startswith("It could not be built (DecodeError")


@pytest.mark.slow
def test_a_model_that_never_ends_is_ended(tmp_path: Path) -> None:
    outcome = tried(tmp_path, looping_model(2), "optimised", np.full((3, 2), -1, np.float32), "sum")

    assert isinstance(outcome, Unfit)
    assert outcome.reason.startswith("It used more than a trial may: 4 s of CPU time to build, 1 s to run")


def test_a_model_that_fails_on_the_rows_says_why(tmp_path: Path) -> None:
    outcome = tried(tmp_path, failing_model(2), "optimised", np.full((3, 2), -1, np.float32), "sum")

    assert isinstance(outcome, NotBuilt)
    assert outcome.reason.startswith("The original itself fails on the rows to compare on: ")
    assert "Gather" in outcome.reason


class TestPacking:
    @given(st.lists(st.floats(width=32), max_size=12), st.sampled_from(["float16", "float32", "float64"]))
    def test_numbers_arrive_as_they_were_sent(self, numbers: list[float], kind: str) -> None:
        with np.errstate(over="ignore"):
            values = np.array(numbers, kind).reshape(-1, 1)

        assert np.array_equal(unpack(pack(values)), values, equal_nan=True)

    @given(st.lists(st.text(max_size=5), max_size=6))
    def test_texts_arrive_as_they_were_sent(self, texts: list[str]) -> None:
        values = np.array(texts, object).reshape(1, -1)

        assert unpack(pack(values)).tolist() == [texts]

    @pytest.mark.parametrize(
        "lie",
        [Packed("float32", [3], b"1234"), Packed("str", [2], ["a"]), Packed("int8", [1], ["a"])],
    )
    def test_a_shape_that_lies_is_refused(self, lie: Packed) -> None:
        with pytest.raises(ValueError):
            unpack(lie)
