"""Log predictions and labels to Driftline, and ask its models, from any Python application.

    import driftline_client

    flights = driftline_client.model("flights", version="7")  # DRIFTLINE_URL and DRIFTLINE_TOKEN
    key = flights.log(features={"delay": 4.0, "carrier": "AA"}, prediction="late", probabilities=0.8)
    flights.label(key, "on time")

Logging returns at once; a thread of its own sends. Needs httpx and nothing else.
"""

from driftline_client.delivery import Counts, Delivery
from driftline_client.errors import DriftlineError
from driftline_client.handle import ModelHandle, model
from driftline_client.inference import Prediction

__all__ = ["Counts", "Delivery", "DriftlineError", "ModelHandle", "Prediction", "model"]
