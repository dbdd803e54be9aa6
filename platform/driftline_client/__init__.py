"""The Python client: logs predictions and labels to Driftline, asks models and pushes them; it needs httpx alone.

    import driftline_client

    flights = driftline_client.model("flights", version="7")  # DRIFTLINE_URL and DRIFTLINE_TOKEN
    key = flights.log(features={"delay": 4.0, "carrier": "AA"}, prediction="late", probabilities=0.8)
    flights.label(key, "on time")
    flights.log_frame(frame, prediction="prediction", probabilities="score")  # pandas, polars or Arrow
    flights.reference("training.csv")
    driftline_client.push("flights", pipeline, X)  # converts to ONNX, checks, uploads

A thread sends what is logged, so a call returns at once. The same for asyncio is in `aio.py`. Pushing needs
converters: skl2onnx, onnxmltools, torch.onnx or tf2onnx. The command line `driftline` is in `cli/main.py`.

Start with `handle.py`.
"""

from driftline_client.errors import DriftlineError, NotAnswered, NotQueued
from driftline_client.frame_log import (
    FrameInterrupted,
    FrameResult,
    LabelColumns,
    PredictionColumns,
    RowFault,
)
from driftline_client.handle import ModelHandle, model
from driftline_client.inference import About, Prediction
from driftline_client.pushing import Pushed, push
from driftline_client.references import Reference
from driftline_client.sending.delivery import Counts, Delivery

__version__ = "0.1.0"

__all__ = [
    "About",
    "Counts",
    "Delivery",
    "DriftlineError",
    "FrameInterrupted",
    "FrameResult",
    "LabelColumns",
    "ModelHandle",
    "NotAnswered",
    "NotQueued",
    "Prediction",
    "PredictionColumns",
    "Pushed",
    "Reference",
    "RowFault",
    "model",
    "push",
]
