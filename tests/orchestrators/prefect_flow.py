"""A flow as a user of Prefect would write it: `python prefect_flow.py` serves its deployment `retrain/default`."""

from typing import Any

import training
from prefect import flow, task

fetch, train = task(training.fetch), task(training.train)


@flow
def retrain(order: dict[str, Any]) -> None:
    training.wait_while_held()
    onnx = train(fetch(order), order["job"])
    training.send(onnx, order)


if __name__ == "__main__":
    retrain.serve(name="default", limit=1)
