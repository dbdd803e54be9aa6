"""An upstream and a version of ours on the same requests: answers, log and comparison are complete."""

import time
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from driftline.demo.api_client import Api, ApiRefused
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import FEATURES, Installation
from tests.upstreams.deploying import ask_all, await_whole_log, deploy
from tests.upstreams.risk import as_onnx, ours, some_rows, truth_of
from tests.upstreams.servers import Upstream
from tests.waiting import wait_until

pytestmark = [pytest.mark.upstreams, pytest.mark.e2e]

SINGLE, BATCHES, BATCH = 360, 2, 20
CLOSE = 1e-5  # the upstream computes in double precision where ONNX Runtime computes in single


@pytest.mark.parametrize("remote", ["champion", "shadow"])
def test_each_request_is_answered_by_the_one_and_paired_with_the_other(
    installation: Installation, upstream: Upstream, remote: str, tell: Tell
) -> None:
    name = f"pairs-{upstream.name}-{remote}"
    rows = some_rows(SINGLE + BATCHES * BATCH, 3)
    truth = truth_of(rows, 4)
    of_upstream, of_ours = upstream.probabilities(rows), ours().predict_proba(rows)[:, 1]
    if remote == "champion":
        model_id = deploy(installation, name, champion=upstream, shadow=as_onnx(ours()))
        expected, beside = of_upstream, of_ours
    else:
        model_id = deploy(installation, name, champion=as_onnx(ours()), shadow=upstream)
        expected, beside = of_ours, of_upstream

    started = time.monotonic()
    batches = [*rows[:SINGLE, None], *np.split(rows[SINGLE:], BATCHES)]
    ids, answers = ask_all(installation, name, batches)
    asked_s = time.monotonic() - started
    logged = await_whole_log(installation, model_id, 2 * len(rows))
    with closing(installation.api()) as api:
        labels = [{"id": id_, "label": str(label)} for id_, label in zip(ids, truth, strict=True)]
        assert api.post(f"/api/v1/models/{name}/labels", {"labels": labels})["accepted"] == len(rows)
        found = wait_until(lambda: compared(api, name, len(rows)), what="the comparison of all pairs")
        looked_up = [api.get(f"/api/v1/models/{name}/predictions/{id_}") for id_ in (ids[0], ids[-1])]

    tell(
        f"{name}: {len(rows)} rows in {asked_s:.1f} s, answers within {abs(answers - expected).max():.1e} of the "
        f"{'upstream' if remote == 'champion' else 'model'}'s own; {found['pairs']} pairs, {found['labelled']} "
        f"labelled, {found['disagreement']:.1%} differ; p99 {found['latency_p99_ms_champion']:.1f} ms champion, "
        f"{found['latency_p99_ms_challenger']:.1f} ms shadow"
    )
    assert np.allclose(answers, expected, atol=CLOSE)
    assert logged == {id_: [("champion", "1"), ("shadow", "2")] for id_ in ids}
    right, right_beside = (expected > 0.5) == truth, (beside > 0.5) == truth
    assert found["disagreement"] == pytest.approx(np.mean(right != right_beside))
    assert found["only_champion_right"] == np.sum(right & ~right_beside)
    assert found["only_challenger_right"] == np.sum(right_beside & ~right)
    for place, row in zip((0, -1), looked_up, strict=True):
        assert row["features"] == pytest.approx(dict(zip(FEATURES, map(float, rows[place]), strict=True)))
        assert (row["role"], row["version"]) == ("champion", "1")
        assert row["probability"] == pytest.approx(expected[place], abs=CLOSE)
        [shadow] = row["shadows"]
        assert shadow["probability"] == pytest.approx(beside[place], abs=CLOSE)


def compared(api: Api, name: str, pairs: int) -> dict[str, Any] | None:
    """The comparison of version 2 with the champion, once it counts so many labelled pairs."""
    try:
        found = api.get(f"/api/v1/models/{name}/comparison?challenger=2")
    except ApiRefused as refusal:
        if refusal.problem["code"] == "no_pairs":
            return None
        raise
    return found if found["labelled"] >= pairs else None
