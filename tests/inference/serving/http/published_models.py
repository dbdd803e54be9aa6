"""Models that the serving of a test publishes, and what it logged of them."""

import time
from pathlib import Path
from typing import Any

from inference.serving.plan import PlanModel
from tests.inference.onnx_models import (
    classifier_signature,
    constant_classifier,
    echoing_model,
    echoing_signature,
    failing_model,
    looping_model,
    root_model,
    store,
    summing_model,
    summing_signature,
)
from tests.inference.serving.running import (
    Server,
    publish,
    token,
)
from tests.waiting import wait_until


def publish_models(home: Path) -> None:
    """Publish two projects: one of several models, `coins` with an alias and a shadow; another of one model."""
    sums = store(home, summing_model(3), summing_signature(3), id=1, version="1")
    heads = store(home, constant_classifier(0.25, 3), classifier_signature(3), id=2, version="1")
    tails = store(home, constant_classifier(0.75, 3), classifier_signature(3), id=3, version="2")
    echo = store(home, echoing_model(), echoing_signature(), id=4, version="1")
    endless = store(home, looping_model(3), summing_signature(3), id=5, version="1")
    roots = store(home, root_model(3), summing_signature(3), id=6, version="1")
    failing = store(home, failing_model(3), summing_signature(3), id=7, version="1")
    later = store(home, summing_model(3), summing_signature(3), id=8, version="2")
    idle = store(home, summing_model(3), summing_signature(3), id=9, version="1")
    models = [
        PlanModel(1, 1, "sums", 5, "1", [], [sums, later]),
        PlanModel(2, 1, "coins", 6, "1", ["2"], [heads, tails], aliases={"tails": "2", "heads": "1"}),
        PlanModel(3, 1, "echoes", 7, "1", [], [echo]),
        PlanModel(4, 1, "empty", 1, None, [], [idle]),
        PlanModel(5, 2, "foreign", 1, "1", [], [sums]),
        PlanModel(6, 1, "endless", 1, "1", [], [endless]),
        PlanModel(7, 1, "roots", 1, "1", [], [roots]),
        PlanModel(8, 1, "failing", 1, "1", [], [failing]),
    ]
    tokens = [
        token("dl_infer", "infer"),
        token("dl_read", "read"),
        token("dl_theirs", "infer", project_id=2),
        token("dl_expired", "infer", expires_at=time.time() - 1),
        token("dl_nothing", "infer", project_id=3),
    ]
    publish(home, models, tokens)


def logged(server: Server, prediction_id: str, role: str = "champion") -> Any:
    """Wait for a prediction to be in the log, and give its batch and its place there."""

    def found() -> list[Any]:
        return [batch for batch in server.spooled(role) if prediction_id in batch.ids]

    wait_until(found)
    (batch,) = found()
    return batch, batch.ids.index(prediction_id)
