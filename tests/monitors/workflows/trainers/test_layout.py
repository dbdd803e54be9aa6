"""A challenger in the tensors of a champion that was made elsewhere."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from inference.signatures import Feature, TensorSpec
from monitors.workflows.trainers.catalogue import SHIPPED, load_trainer
from monitors.workflows.trainers.convert import check_parity, onnx_inputs, open_session, run_onnx
from monitors.workflows.trainers.data import TrainingData, load_training_data
from monitors.workflows.trainers.job import Layout, TrainingJob
from monitors.workflows.trainers.layout import IncompatibleLayout, adopt_layout

NUMBERS = [Feature("temp", "float"), Feature("distance", "int"), Feature("weekend", "bool")]
TABLE = TensorSpec("X", "FP32", [-1, 3])
LABEL = TensorSpec("output_label", "BYTES", [-1])
PROBABILITIES = TensorSpec("output_probability", "FP32", [-1, 2])


def layout(*inputs: TensorSpec, outputs: list[TensorSpec] | None = None) -> Layout:
    names = [spec.name for spec in outputs or ()]
    return Layout(
        inputs=list(inputs),
        outputs=outputs or [LABEL, PROBABILITIES],
        prediction=LABEL.name if not outputs or LABEL.name in names else None,
        probabilities=PROBABILITIES.name if not outputs or PROBABILITIES.name in names else None,
    )


def export(job: TrainingJob, trainer: str = "sklearn_logistic_regression") -> tuple[bytes, TrainingData]:
    """Train, adopt the layout, and check that the ONNX answers as the model, on missing values too."""
    data = load_training_data(job)
    model = load_trainer(SHIPPED[trainer])(job, data)
    content = adopt_layout(job, model.export())
    report = check_parity(job, model, content, data)
    assert report.share_over_tolerance == 0
    assert report.missing_rows > 100
    return content, data


@pytest.fixture
def numbers_job(classifier_job: TrainingJob) -> TrainingJob:
    return msgspec.structs.replace(classifier_job, features=NUMBERS)


def specs(content: bytes) -> tuple[dict[str, str], dict[str, str]]:
    session = open_session(content)
    return (
        {spec.name: f"{spec.type} {len(spec.shape)}" for spec in session.get_inputs()},
        {spec.name: f"{spec.type} {len(spec.shape)}" for spec in session.get_outputs()},
    )


@pytest.mark.parametrize("trainer", SHIPPED)
def test_every_trainer_can_take_one_tensor(trainer: str, numbers_job: TrainingJob) -> None:
    job = msgspec.structs.replace(numbers_job, layout=layout(TABLE))

    content, data = export(job, trainer)

    inputs, outputs = specs(content)
    assert inputs == {"X": "tensor(float) 2"}
    assert outputs == {"output_label": "tensor(string) 1", "output_probability": "tensor(float) 2"}
    labels = open_session(content).run(["output_label"], onnx_inputs(job, data.frame))[0]
    assert np.mean(labels == data.label) > 0.6


@pytest.mark.parametrize("datatype", ["FP64", "FP16", "INT64"])
def test_a_tensor_of_another_type_is_cast(
    datatype: str, snapshot: pd.DataFrame, numbers_job: TrainingJob
) -> None:
    whole = snapshot.assign(temp=snapshot.temp.round().fillna(15)) if datatype == "INT64" else snapshot
    whole.assign(distance=whole.distance % 1000).drop(columns="minutes").to_parquet(numbers_job.data)
    job = msgspec.structs.replace(numbers_job, layout=layout(TensorSpec("X", datatype, [-1, 3])))
    data = load_training_data(job)
    model = load_trainer(SHIPPED["sklearn_logistic_regression"])(job, data)

    content = adopt_layout(job, model.export())

    answers = run_onnx(job, open_session(content), data.frame)
    assert np.allclose(answers, model.predict(data.frame), atol=2e-2 if datatype == "FP16" else 1e-5)


def test_inputs_of_other_types_and_order_and_ranks_are_followed(classifier_job: TrainingJob) -> None:
    inputs = [
        TensorSpec("weekend", "BOOL", [-1]),
        TensorSpec("temp", "FP64", [-1, 1]),
        TensorSpec("carrier", "BYTES", [-1, 1]),
        TensorSpec("distance", "INT64", [-1, 1]),
    ]

    content, _ = export(msgspec.structs.replace(classifier_job, layout=layout(*inputs)))

    assert specs(content)[0] == {
        "weekend": "tensor(bool) 1",
        "temp": "tensor(double) 2",
        "carrier": "tensor(string) 2",
        "distance": "tensor(int64) 2",
    }


@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
def test_the_probability_of_the_second_class_may_stand_alone(
    shape: list[int], numbers_job: TrainingJob
) -> None:
    alone = TensorSpec(PROBABILITIES.name, "FP32", shape)
    job = msgspec.structs.replace(numbers_job, layout=layout(TABLE, outputs=[alone]))

    content, data = export(job)

    assert specs(content)[1] == {"output_probability": f"tensor(float) {len(shape)}"}
    second = open_session(content).run(None, onnx_inputs(job, data.frame))[0]
    assert second.shape == (len(data), *shape[1:])


def test_a_regression_gets_the_champions_output(regressor_job: TrainingJob) -> None:
    output = TensorSpec("minutes", "FP64", [-1])
    wanted = Layout(inputs=[TABLE], outputs=[output], prediction="minutes", probabilities=None)

    content, _ = export(msgspec.structs.replace(regressor_job, features=NUMBERS, layout=wanted))

    assert specs(content) == ({"X": "tensor(float) 2"}, {"minutes": "tensor(double) 1"})


def test_what_has_the_layout_already_stays_as_it_is(classifier_job: TrainingJob) -> None:
    data = load_training_data(classifier_job)
    content = load_trainer(SHIPPED["sklearn_logistic_regression"])(classifier_job, data).export()
    session = open_session(content)
    kinds = {"tensor(float)": "FP32", "tensor(string)": "BYTES"}
    own = Layout(
        inputs=[TensorSpec(spec.name, kinds[spec.type], [-1, 1]) for spec in session.get_inputs()],
        outputs=[TensorSpec("label", "BYTES", [-1]), TensorSpec("probabilities", "FP32", [-1, 2])],
        prediction="label",
        probabilities="probabilities",
    )

    assert adopt_layout(msgspec.structs.replace(classifier_job, layout=own), content) is content


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([LABEL], "gives no probabilities"),
        ([LABEL, PROBABILITIES, TensorSpec("leaf", "INT64", [-1, 1])], "'leaf'"),
    ],
)
def test_an_output_that_no_trainer_gives_is_named(
    outputs: list[TensorSpec], words: str, numbers_job: TrainingJob
) -> None:
    job = msgspec.structs.replace(numbers_job, layout=layout(TABLE, outputs=outputs))
    data = load_training_data(job)
    model = load_trainer(SHIPPED["sklearn_logistic_regression"])(job, data)

    with pytest.raises(IncompatibleLayout, match=words):
        adopt_layout(job, model.export())
