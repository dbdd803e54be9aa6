"""Bodies of the Open Inference Protocol."""

ONE_ROW = {
    "model_name": "flights",
    "model_version": "7",
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["late"]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
    ],
}


TWO_ROWS = {
    "model_name": "flights",
    "model_version": "7",
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["late", "on time"]},
        {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, 0.9, 0.1]},
    ],
}
