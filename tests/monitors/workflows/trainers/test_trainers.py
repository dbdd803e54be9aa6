"""Each shipped trainer: learns, converts faithfully, and takes one input a feature."""

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest

from driftline_client.conversion.boosting import round_thresholds_down
from monitors.workflows.trainers.catalogue import SHIPPED, TrainerNotAllowed, entry_point, load_trainer
from monitors.workflows.trainers.convert import (
    PARITY_ROWS,
    UnfaithfulConversion,
    check_parity,
    onnx_inputs,
    open_session,
    run_onnx,
)
from monitors.workflows.trainers.data import (
    InvalidTrainingData,
    TrainedModel,
    load_training_data,
    typed_features,
)
from monitors.workflows.trainers.job import TrainingJob


@pytest.mark.parametrize("name", SHIPPED)
class TestEveryTrainer:
    def test_classifier_learns_and_survives_conversion(self, name: str, classifier_job: TrainingJob) -> None:
        data = load_training_data(classifier_job)

        model = load_trainer(SHIPPED[name])(classifier_job, data)
        report = check_parity(classifier_job, model, model.export(), data)

        late = model.predict(data.frame)[:, model.classes.index("late")]
        assert np.mean((late > 0.5) == (data.label == "late")) > 0.75
        assert report.max_difference < 1e-5
        assert report.missing_rows > 100
        assert report.unseen_rows > 100

    def test_regressor_learns_and_survives_conversion(self, name: str, regressor_job: TrainingJob) -> None:
        data = load_training_data(regressor_job)

        model = load_trainer(SHIPPED[name])(regressor_job, data)
        report = check_parity(regressor_job, model, model.export(), data)

        assert np.corrcoef(model.predict(data.frame), data.label)[0, 1] > 0.9
        assert report.share_over_tolerance == 0

    def test_onnx_takes_one_input_a_feature_and_answers_class_texts(
        self, name: str, classifier_job: TrainingJob
    ) -> None:
        data = load_training_data(classifier_job)

        session = open_session(load_trainer(SHIPPED[name])(classifier_job, data).export())

        inputs = {i.name: (i.type, i.shape[1]) for i in session.get_inputs()}
        assert inputs == {
            "carrier": ("tensor(string)", 1),
            "distance": ("tensor(float)", 1),
            "temp": ("tensor(float)", 1),
            "weekend": ("tensor(float)", 1),
        }
        assert [o.name for o in session.get_outputs()] == ["label", "probabilities"]
        labels, probabilities = session.run(None, onnx_inputs(classifier_job, data.frame))
        assert set(labels) == {"late", "on_time"}
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)

    def test_the_same_seed_gives_the_same_model(self, name: str, classifier_job: TrainingJob) -> None:
        data = load_training_data(classifier_job)
        trainer = load_trainer(SHIPPED[name])

        first, again = trainer(classifier_job, data), trainer(classifier_job, data)

        assert np.array_equal(first.predict(data.frame), again.predict(data.frame))

    def test_an_unknown_parameter_is_refused(self, name: str, classifier_job: TrainingJob) -> None:
        job = msgspec.structs.replace(classifier_job, parameters={"tress": 10})

        with pytest.raises(InvalidTrainingData, match="tress"):
            load_trainer(SHIPPED[name])(job, load_training_data(job))


class TestClasses:
    def test_integer_classes_are_answered_as_integers(
        self, snapshot: pd.DataFrame, classifier_job: TrainingJob
    ) -> None:
        snapshot.assign(label=(snapshot.label == "late").astype(float)).to_parquet(classifier_job.data)
        job = msgspec.structs.replace(classifier_job, classes=["0", "1"], positive_class="1")
        data = load_training_data(job)

        session = open_session(load_trainer(SHIPPED["lightgbm"])(job, data).export())

        assert session.get_outputs()[0].type == "tensor(int64)"
        labels = session.run(["label"], onnx_inputs(job, data.frame))[0]
        assert np.mean(labels == data.label) > 0.75

    @pytest.mark.slow
    def test_three_classes_convert(self, snapshot: pd.DataFrame, classifier_job: TrainingJob) -> None:
        three = np.where(snapshot.temp > 20, "hot", np.where(snapshot.temp < 10, "cold", "mild"))
        snapshot.assign(label=three).to_parquet(classifier_job.data)
        job = msgspec.structs.replace(
            classifier_job, task="multiclass", classes=["hot", "mild", "cold"], positive_class=None
        )
        data = load_training_data(job)
        model = load_trainer(SHIPPED["sklearn_random_forest"])(job, data)

        answers = run_onnx(job, open_session(model.export()), data.frame)

        assert model.classes == job.output_classes() == ["cold", "hot", "mild"]
        assert np.allclose(answers, model.predict(data.frame), atol=1e-5)


class TestParity:
    def test_refuses_a_model_that_answers_otherwise_than_its_onnx(self, classifier_job: TrainingJob) -> None:
        data = load_training_data(classifier_job)
        model = load_trainer(SHIPPED["lightgbm"])(classifier_job, data)
        liar = TrainedModel(
            predict=lambda frame: 1 - model.predict(frame), export=model.export, classes=model.classes
        )

        with pytest.raises(UnfaithfulConversion, match="rows differ"):
            check_parity(classifier_job, liar, liar.export(), data)

    @pytest.mark.slow
    def test_samples_at_most_the_stated_rows(self, classifier_job: TrainingJob) -> None:
        data = load_training_data(classifier_job)
        model = load_trainer(SHIPPED["lightgbm"])(classifier_job, data)

        report = check_parity(classifier_job, model, model.export(), data)

        assert report.rows == len(data) + 2 * (len(data) // 10) <= 1.2 * PARITY_ROWS
        assert report.size_bytes < 2_000_000
        assert report.row_latency_us > 0


class TestThresholds:
    def test_rounded_thresholds_split_every_float32_as_before(self) -> None:
        rng = np.random.default_rng(3)
        exact = rng.normal(0, 1, 2_000)
        values = np.concatenate([np.nextafter(exact.astype(np.float32), np.float32(d)) for d in (-9, 0, 9)])

        line = round_thresholds_down("a=1\nthreshold=" + " ".join(map(repr, exact.tolist())) + "\nb=2")

        rounded = np.array(line.split("threshold=")[1].split("\n")[0].split(), np.float64)
        assert np.array_equal(rounded, rounded.astype(np.float32))
        for before, after in zip(exact, rounded, strict=True):
            assert np.array_equal(values <= before, values.astype(np.float64) <= after)


class TestLoading:
    def test_rows_without_a_label_are_left_out(
        self, snapshot: pd.DataFrame, classifier_job: TrainingJob
    ) -> None:
        snapshot.loc[:99, "label"] = None
        snapshot.to_parquet(classifier_job.data)

        data = load_training_data(classifier_job)

        assert len(data) == len(snapshot) - 100

    def test_a_missing_string_becomes_its_token(
        self, snapshot: pd.DataFrame, classifier_job: TrainingJob
    ) -> None:
        job = msgspec.structs.replace(classifier_job, missing={"carrier": "??"})

        frame = typed_features(job, snapshot)

        assert set(frame.carrier) == {"AA", "DL", "UA", "??"}
        assert frame.temp.isna().sum() == snapshot.temp.isna().sum()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"label": None}, "no labelled row"),
            ({"label": "late"}, "Each label is 'late'"),
            ({"label": ["late", "early"] * 600}, "early"),
        ],
    )
    def test_labels_that_cannot_train_are_explained(
        self, snapshot: pd.DataFrame, classifier_job: TrainingJob, change: dict[str, object], message: str
    ) -> None:
        snapshot.assign(**change).to_parquet(classifier_job.data)

        with pytest.raises(InvalidTrainingData, match=message):
            load_training_data(classifier_job)

    def test_an_absent_column_is_named(self, snapshot: pd.DataFrame, classifier_job: TrainingJob) -> None:
        snapshot.drop(columns="temp").to_parquet(classifier_job.data)

        with pytest.raises(InvalidTrainingData, match="temp"):
            load_training_data(classifier_job)


class TestCatalogue:
    def test_a_trainer_that_the_operator_does_not_allow_is_refused(self) -> None:
        with pytest.raises(TrainerNotAllowed, match="lightgbm"):
            entry_point("lightgbm", allowed=["sklearn_random_forest"])

    def test_an_unknown_trainer_is_refused_though_allowed(self) -> None:
        with pytest.raises(TrainerNotAllowed, match="os"):
            entry_point("os:system", allowed=["os:system"])


@pytest.mark.slow
def test_a_file_from_a_trainer_loads_alone(classifier_job: TrainingJob, tmp_path: Path) -> None:
    data = load_training_data(classifier_job)
    path = tmp_path / "model.onnx"
    path.write_bytes(load_trainer(SHIPPED["sklearn_random_forest"])(classifier_job, data).export())

    session = ort.InferenceSession(path)

    one = {k: v[:1] for k, v in onnx_inputs(classifier_job, data.frame).items()}
    assert len(session.run(None, one)[0]) == 1
