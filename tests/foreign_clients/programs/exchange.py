"""What the programs share: the questions that they are given, and answers as plain arrays."""

import base64

import numpy as np

Arrays = dict[str, np.ndarray]


def read_questions(path: str) -> dict[str, Arrays]:
    """Read the inputs of each model from an .npz of arrays named `model/input`."""
    questions: dict[str, Arrays] = {}
    with np.load(path) as stored:
        for name in stored.files:
            model, _, tensor = name.partition("/")
            questions.setdefault(model, {})[tensor] = stored[name]
    return questions


def as_asked(model: str, output: str, values: object, inputs: Arrays) -> np.ndarray:
    """Give values from JSON, which names no types, the type that the model's metadata says.

    TensorFlow Serving writes outputs whose name ends in `_bytes` as base64.
    """
    array = np.array(values)
    if array.dtype == object and isinstance(array.flat[0], dict):
        texts = [base64.b64decode(value["b64"]).decode() for value in array.flat]
        return np.array(texts).reshape(array.shape)
    if model == "identity":
        return np.array(values, dtype=inputs[output.removeprefix("same_")].dtype)
    return np.array(values, dtype={"label": np.int64, "probabilities": np.float32}[output])


def plain(values: np.ndarray) -> np.ndarray:
    """Give texts as such: the clients give some as bytes."""
    if values.dtype.kind not in "OS":
        return values
    texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values.ravel().tolist()]
    return np.array(texts).reshape(values.shape)
