"""A handler of TorchServe, which runs in its environment: a list of rows in, a list with one object a row out."""

from typing import Any

import numpy as np
import torch
from ts.torch_handler.base_handler import BaseHandler


class Logistic(BaseHandler):
    """Loads TorchScript as its base does, and runs the requests of a batch together."""

    def initialize(self, context: Any) -> None:
        """Load the model, and run it until TorchScript has compiled it: nobody is to wait for that."""
        super().initialize(context)
        row = torch.zeros(1, next(self.model.parameters()).shape[1])
        with torch.inference_mode():
            for _ in range(3):
                self.model(row)

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        """Join the rows of all requests."""
        self._counts = [len(request["body"]) for request in data]
        rows = [row for request in data for row in request["body"]]
        return torch.from_numpy(np.array(rows, np.float32))  # null becomes NaN

    def postprocess(self, data: torch.Tensor) -> list[Any]:
        """Answer each request with a list as long as its own."""
        return [[_answer(chance) for chance in part] for part in data.ravel().split(self._counts)]


def _answer(chance: torch.Tensor) -> dict[str, Any]:
    return {"label": int(chance > 0.5), "probabilities": [1 - chance.item(), chance.item()]}
