"""Log predictions and labels to Driftline, and ask its models, from any Python application.

    import driftline_client

    flights = driftline_client.model("flights", version="7")  # DRIFTLINE_URL and DRIFTLINE_TOKEN
    key = flights.log(features={"delay": 4.0, "carrier": "AA"}, prediction="late", probabilities=0.8)
    flights.label(key, "on time")

Logging returns at once; a thread of its own sends. Needs httpx and nothing else.

    driftline_client.push("flights", pipeline, X)  # converts to ONNX, checks, uploads

    flights.log_frame(frame, prediction="prediction", probabilities="score")  # pandas, polars or Arrow
    flights.reference("training.csv")

The same for asyncio is in `driftline_client.aio`. Pushing uses the converters of the application's own framework:
skl2onnx, onnxmltools, torch.onnx or tf2onnx.
"""

from driftline_client.delivery import Counts, Delivery
from driftline_client.errors import DriftlineError, NotQueued
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

__all__ = [
    "About",
    "Counts",
    "Delivery",
    "DriftlineError",
    "FrameInterrupted",
    "FrameResult",
    "LabelColumns",
    "ModelHandle",
    "NotQueued",
    "Prediction",
    "PredictionColumns",
    "Pushed",
    "Reference",
    "RowFault",
    "model",
    "push",
]
