"""Homes with plans, and servers that serve them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.serving.plan import PlanCallback, PlanModel
from tests.inference.onnx_models import (
    classifier_signature,
    constant_classifier,
    echoing_model,
    echoing_signature,
    identity_model,
    identity_signature,
    store,
    summing_model,
    summing_signature,
    swelling_model,
    swelling_signature,
)
from tests.inference.serving.running import Server, publish, running_server, token


def publish_everything(home: Path) -> None:
    """Publish two projects: sums, coins (with a shadow), echoes, types, sizes and an empty model; and another's."""
    sums = store(home, summing_model(3), summing_signature(3), id=1, version="1")
    heads = store(home, constant_classifier(0.25, 3), classifier_signature(3), id=2, version="1")
    tails = store(home, constant_classifier(0.75, 3), classifier_signature(3), id=3, version="2")
    echo = store(home, echoing_model(), echoing_signature(), id=4, version="1")
    identity = store(home, identity_model(), identity_signature(), id=5, version="1")
    swelling = store(home, swelling_model(), swelling_signature(), id=6, version="1")
    models = [
        PlanModel(1, 1, "sums", 5, "1", [], [sums]),
        PlanModel(2, 1, "coins", 6, "1", ["2"], [heads, tails]),
        PlanModel(3, 1, "echoes", 7, "1", [], [echo]),
        PlanModel(4, 1, "empty", 1, None, [], []),
        PlanModel(5, 2, "foreign", 1, "1", [], [sums]),
        PlanModel(6, 1, "types", 1, "1", [], [identity]),
        PlanModel(7, 1, "sizes", 1, "1", [], [swelling]),
        PlanModel(8, 3, "bounded", 1, "1", [], [sums]),
        PlanModel(9, 4, "full", 1, "1", [], [sums]),
    ]
    tokens = [
        token("dl_infer", "infer"),
        token("dl_backfill", "infer", "backfill"),
        token("dl_read", "read"),
        token("dl_requests", "infer", requests_per_second=1),
        token("dl_rows", "infer", rows_per_second=1),
        token("dl_expired", "infer", expires_at=time.time() - 1),
        token("dl_theirs", "infer", project_id=2),
        token("dl_bounded", "infer", project_id=3),
        token("dl_full", "infer", project_id=4),
        token("dl_bounded_too", "infer", project_id=3, rows_per_second=1_000),
    ]
    publish(
        home,
        models,
        tokens,
        callbacks=[PlanCallback(1, 1, "app")],
        row_quotas={3: 1},
        full_projects={4: "Four holds 2 bytes of a quota of 1 byte."},
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one worker with everything published, shared by all tests that neither end it nor change its plan."""
    home = tmp_path_factory.mktemp("home")
    publish_everything(home)
    with running_server(home, app="tests.inference.serving.small_app:app") as running:
        yield running
