"""The peer that most teams write: FastAPI with pydantic models around an ONNX Runtime session.

Idiomatic and kindly so: an `async def` handler (a thread hop would double its cost), one ONNX Runtime thread, a
typed response that pydantic writes itself. It checks no token and keeps no log.
"""

import os
from typing import Any

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class InputTensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    id: str | None = None
    inputs: list[InputTensor]


class OutputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class InferResponse(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


@app.post("/v2/models/{model}/infer", response_model_exclude_none=True)
async def infer(model: str, request: InferRequest) -> InferResponse:
    tensor = request.inputs[0]
    if tensor.datatype != "FP32" or len(tensor.data) != tensor.shape[0] * tensor.shape[1]:
        raise HTTPException(400, "the data do not fit the shape")
    rows = np.array(tensor.data, np.float32).reshape(tensor.shape)
    label, probabilities = session.run(["label", "probabilities"], {tensor.name: rows})
    return InferResponse(
        model_name=model,
        model_version="1",
        id=request.id,
        outputs=[
            OutputTensor(name="label", datatype="INT64", shape=list(label.shape), data=label.tolist()),
            OutputTensor(
                name="probabilities",
                datatype="FP32",
                shape=list(probabilities.shape),
                data=probabilities.ravel().tolist(),
            ),
        ],
    )
