"""What becomes of people's models on their way to ONNX: faithful, or refused with a sentence."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from driftline_client import DriftlineError
from driftline_client.conversion.converted import Converted
from driftline_client.conversion.parity import UNSEEN_CATEGORY, KindParity, Parity, check_parity
from driftline_client.conversion.table import read_table
from driftline_client.pushing import _convert

pytestmark = pytest.mark.slow

NUMBERS = ["delay", "wind", "load"]
RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(1500, 3))
GAPPY = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS)
FRAME = pd.DataFrame(ROWS, columns=NUMBERS).assign(
    hour=RNG.integers(0, 24, len(ROWS)), carrier=RNG.choice(["AA", "DL", "UA"], len(ROWS))
)
LATE = (ROWS[:, 0] + ROWS[:, 1] ** 2 + RNG.normal(size=len(ROWS)) > 1).astype(int)


def columns(encoder: Any, numbers: Any = None) -> ColumnTransformer:
    return ColumnTransformer(
        [("n", numbers or SimpleImputer(), [*NUMBERS, "hour"]), ("c", encoder, ["carrier"])]
    )


def one_hot(unknown: str = "ignore") -> OneHotEncoder:
    return OneHotEncoder(handle_unknown=unknown)


def converted(
    model: Any, rows: Any, *, tolerated_share: float = 0.001, **options: Any
) -> tuple[Converted, Parity]:
    table = read_table(rows, None)
    made = _convert(model, table, None)
    parity = check_parity(
        made, table, tolerance=1e-4, tolerated_share=tolerated_share, missing=options.get("missing", {})
    )
    return made, parity


def input_names(made: Converted) -> list[str]:
    return [spec.name for spec in ort.InferenceSession(made.onnx).get_inputs()]


class TestFaithful:
    @pytest.mark.parametrize(
        ("model", "rows"),
        [
            pytest.param(LogisticRegression(), ROWS, id="array"),
            pytest.param(LogisticRegression(), FRAME[[*NUMBERS, "hour"]], id="frame of numbers"),
            pytest.param(RandomForestClassifier(10, max_depth=6, random_state=0), ROWS, id="forest"),
            pytest.param(LGBMClassifier(n_estimators=50, verbosity=-1), GAPPY, id="LightGBM with gaps"),
        ],
    )
    def test_a_classifier_of_numbers_takes_one_tensor(self, model: Any, rows: Any) -> None:
        made, parity = converted(model.fit(rows, LATE), rows)

        assert input_names(made) == ["X"]
        assert parity.kinds["given"].rows == len(ROWS)
        assert parity.kinds["extreme"].max_difference < 1e-5
        assert parity.kinds["given"].max_difference < 1e-5

    @pytest.mark.parametrize(
        "model",
        [
            make_pipeline(
                columns(one_hot(), make_pipeline(SimpleImputer(), StandardScaler())), LogisticRegression()
            ),
            make_pipeline(
                columns(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
                LGBMClassifier(n_estimators=50, verbosity=-1),
            ),
        ],
        ids=["one-hot", "ordinal and LightGBM"],
    )
    def test_a_pipeline_that_names_its_columns_takes_one_input_a_column(self, model: Any) -> None:
        made, parity = converted(model.fit(FRAME, LATE), FRAME)

        assert input_names(made) == list(FRAME.columns)
        assert set(parity.kinds) == {"given", "missing", "extreme", "unseen"}
        assert parity.max_difference < 1e-5
        assert parity.rows == len(FRAME) + 3 * 400

    @pytest.mark.parametrize(
        "model", [GradientBoostingRegressor(n_estimators=20), LGBMRegressor(verbosity=-1)]
    )
    def test_a_regressor_is_judged_by_the_spread_of_its_answers(self, model: Any) -> None:
        minutes = 1000 * ROWS[:, 0]

        _, parity = converted(model.fit(ROWS, minutes), ROWS)

        assert 0.01 < parity.tolerance < 0.2
        assert all(kind.share == 0 for kind in parity.kinds.values())

    def test_the_model_pushed_is_left_as_it_was(self) -> None:
        model = LGBMClassifier(n_estimators=20, verbosity=-1).fit(ROWS, LATE)
        before = model.booster_.model_to_string()

        converted(model, ROWS)

        assert model.booster_.model_to_string() == before

    @pytest.mark.parametrize(
        "around",
        [
            CalibratedClassifierCV,
            lambda trees: make_pipeline(StandardScaler(), CalibratedClassifierCV(trees, ensemble=False)),
            lambda trees: StackingClassifier([("line", LogisticRegression())], final_estimator=trees),
            lambda trees: GridSearchCV(trees, {"num_leaves": [7, 15]}),
        ],
        ids=["calibrated", "calibrated in a pipeline", "stacked", "searched"],
    )
    def test_boosted_trees_may_lie_inside_another_estimator(self, around: Any) -> None:
        class NeverConvertedBefore(LGBMClassifier):
            """The converters that skl2onnx knows are the process's: those of other tests must not help."""

        model = around(NeverConvertedBefore(n_estimators=20, verbosity=-1))

        _, parity = converted(model.fit(ROWS, LATE), ROWS)

        assert parity.kinds["given"].max_difference < 1e-5
        assert parity.kinds["extreme"].max_difference < 1e-5

    def test_a_text_that_stands_for_a_missing_one_is_tried(self) -> None:
        frame = FRAME.assign(carrier=np.where(FRAME.index % 9, FRAME.carrier, "none"))
        model = make_pipeline(columns(one_hot("error")), LogisticRegression()).fit(frame, LATE)

        _, parity = converted(model, frame, missing={"carrier": "none"})

        assert "missing" in parity.kinds
        assert "unseen" not in parity.kinds  # the model itself refuses those


class TestUnfaithful:
    def test_a_forest_that_learnt_from_gaps_is_refused(self) -> None:
        forest = RandomForestClassifier(10, max_depth=6, random_state=0).fit(GAPPY, LATE)

        with pytest.raises(DriftlineError, match=r"differ by more than .* SimpleImputer"):
            converted(forest, GAPPY)

    def test_a_forest_that_never_saw_a_gap_is_warned_of(self) -> None:
        forest = RandomForestClassifier(10, max_depth=6, random_state=0).fit(ROWS, LATE)

        _, parity = converted(forest, ROWS)

        assert parity.kinds["missing"].share > 0.1
        [warning] = parity.warnings
        assert "missing values (NaN)" in warning
        assert "SimpleImputer" in warning

    def test_thresholds_are_rounded_down_before_they_are_converted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        grid = np.round(ROWS * 8) / 10
        model = LGBMClassifier(n_estimators=100, min_child_samples=1, verbosity=-1).fit(grid, LATE)
        monkeypatch.setattr("driftline_client.conversion.scikit.with_float32_thresholds", lambda same: same)
        raw, _ = converted(model, grid, tolerated_share=1.0)
        monkeypatch.undo()
        rounded, parity = converted(model, grid)

        assert raw.onnx != rounded.onnx
        assert parity.max_difference < 1e-5

    def test_the_tolerated_share_is_the_callers(self) -> None:
        forest = RandomForestClassifier(10, max_depth=6, random_state=0).fit(GAPPY, LATE)

        _, parity = converted(forest, GAPPY, tolerated_share=1.0)

        assert 0 < parity.kinds["given"].share < 1
        assert parity.described()["share_differing_given"] == parity.kinds["given"].share

    def test_what_fails_only_in_onnx_is_refused_with_the_cure(self) -> None:
        model = make_pipeline(columns(one_hot()), LogisticRegression()).fit(FRAME, LATE)
        table = read_table(FRAME, None)
        made = _convert(
            make_pipeline(columns(one_hot("error")), LogisticRegression()).fit(FRAME, LATE), table, None
        )
        lenient = replace(made, predict=lambda rows: model.predict_proba(rows.rows))

        with pytest.raises(DriftlineError, match="categories that X does not have"):
            check_parity(lenient, table, tolerance=1e-4, tolerated_share=0.001, missing={})
        assert UNSEEN_CATEGORY not in set(FRAME.carrier)

    def test_a_number_where_the_model_gives_none_differs_by_no_number(self) -> None:
        kinds = {"given": KindParity(300, 0, 0.0), "missing": KindParity(100, 90, float("inf"))}

        told = Parity(1e-4, kinds).described()

        assert told["max_difference"] is None
        assert (told["rows"], told["share_differing_missing"]) == (400, 0.9)


class TestImpossible:
    @pytest.mark.parametrize(
        ("model", "rows", "words"),
        [
            (
                HistGradientBoostingClassifier(max_iter=3),
                ROWS,
                "HistGradientBoostingClassifier does not convert",
            ),
            (
                make_pipeline(columns(one_hot("infrequent_if_exist")), LogisticRegression()),
                FRAME,
                "use 'ignore'",
            ),
            (RidgeClassifier(), ROWS, "CalibratedClassifierCV"),
            (IsolationForest(n_estimators=3), ROWS, "neither a classifier nor a regressor"),
        ],
        ids=["histogram boosting", "infrequent categories", "no probabilities", "no prediction"],
    )
    def test_is_said_in_a_sentence(self, model: Any, rows: Any, words: str) -> None:
        with pytest.raises(DriftlineError, match=words) as caught:
            converted(model.fit(rows, LATE), rows)

        assert str(caught.value).endswith(".")

    def test_texts_beside_numbers_need_a_column_transformer(self) -> None:
        with pytest.raises(DriftlineError, match="ColumnTransformer"):
            converted(LogisticRegression().fit(ROWS, LATE), FRAME)

    def test_a_bare_booster_is_asked_for_its_estimator(self) -> None:
        model = LGBMClassifier(n_estimators=2, verbosity=-1).fit(ROWS, LATE)

        with pytest.raises(DriftlineError, match="LGBMClassifier"):
            converted(model.booster_, ROWS)

    def test_a_model_of_no_known_framework_is_named(self) -> None:
        with pytest.raises(DriftlineError, match="test_conversion"):
            converted(type("Homemade", (), {"__module__": __name__})(), ROWS)

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            (np.zeros(3), "rows and columns"),
            (np.zeros((0, 3)), "no rows"),
            (pd.DataFrame({"c": pd.Series(["a"], dtype="category")}), "type category"),
            (pd.DataFrame({"t": pd.to_datetime(["2026-01-01"])}), "datetime64"),
        ],
    )
    def test_rows_that_are_none_are_refused(self, rows: Any, words: str) -> None:
        with pytest.raises(DriftlineError, match=words):
            read_table(rows, None)

    def test_an_absent_converter_is_named(self) -> None:
        program = (
            "import sys; sys.modules['skl2onnx'] = None\n"
            "import numpy as np, driftline_client\n"
            "from sklearn.linear_model import LogisticRegression\n"
            "model = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])\n"
            "driftline_client.push('flights', model, np.eye(4), token='dl_x')"
        )

        failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

        assert "pip install skl2onnx" in failed.stderr


def test_the_client_alone_needs_httpx_and_nothing_else() -> None:
    program = (
        "import sys, driftline_client; heavy = {'numpy', 'pandas', 'sklearn', 'onnx', 'django', 'torch'}; "
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_clients_code_is_read_by_python_311() -> None:
    """People log from the Python that their application has."""
    import ast

    import driftline_client

    for path in Path(driftline_client.__path__[0]).rglob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 11))
