"""`kill -9` of an upstream under load: clear errors, an open circuit, recovery, and a log of what was answered."""

import json
import re
import time
import urllib.request
from contextlib import closing

import pytest

from driftline.demo.wire import HttpAnswer, HttpConnection
from tests.flows.installation.clients import Load, request
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import Installation
from tests.upstreams.deploying import AskingRows, AskingRowsWithKey, await_whole_log, deploy, question
from tests.upstreams.risk import as_onnx, ours, some_rows
from tests.upstreams.servers import Upstream
from tests.waiting import wait_until

pytestmark = [pytest.mark.upstreams, pytest.mark.e2e, pytest.mark.chaos]

REFUSALS = 200


def everybody(installation: Installation, model: str) -> Load:
    return Load(
        installation,
        model,
        asking=AskingRows,
        asking_too=AskingRows,
        keyed=AskingRowsWithKey,
        keyed_too=AskingRowsWithKey,
    )


def test_a_champion_that_is_killed_is_refused_clearly_and_then_answers_again(
    installation: Installation, upstream: Upstream, tell: Tell
) -> None:
    name = f"killed-{upstream.name}-champion"
    model_id = deploy(installation, name, champion=upstream, shadow=as_onnx(ours()))

    with everybody(installation, name) as load:
        load.await_more(40)
        upstream.kill()
        wait_until(lambda: circuit(installation, name) == "open", what="an open circuit in the metrics")
        shut = wait_until(lambda: refused_at_once(installation, name), what="a refusal by the circuit")
        wait_until(lambda: load.ledger(AskingRows).refused[503] >= REFUSALS, what="refusals")
        upstream.start()
        restarted = time.monotonic()
        load.await_more(40)
        recovery_s = time.monotonic() - restarted

    told = load.ledger(AskingRows, AskingRowsWithKey)
    logged = await_whole_log(installation, model_id, 2 * len(told.acknowledged))
    calls = upstream_calls(installation, name)
    tell(
        f"{name}: {len(told.acknowledged):,} answered, refused {dict(told.refused)}, {told.unanswered} unanswered, "
        f"slowest {told.slowest_s:.1f} s; 40 more answers of each client {recovery_s:.1f} s after the restart; "
        f"calls {calls}"
    )
    assert (
        {502, 503} <= told.refused.keys() <= {502, 503, 504}
    )  # a server may take calls before its model is loaded
    assert "left alone for a while" in json.loads(shut.body)["error"]
    assert 1 <= int(shut.headers["retry-after"]) <= 5
    assert told.unanswered == told.turned_away == 0
    assert logged == {id_: [("champion", "1"), ("shadow", "2")] for id_ in told.acknowledged}
    assert calls["answered"] <= len(told.acknowledged)  # rows that come together are one call
    assert calls["unreachable"] < REFUSALS  # who is down is left alone
    wait_until(lambda: circuit(installation, name) == "closed", what="a closed circuit in the metrics")
    installation.check_invariants()


def test_a_shadow_that_is_killed_costs_no_answer_and_then_is_paired_again(
    installation: Installation, upstream: Upstream, tell: Tell
) -> None:
    name = f"killed-{upstream.name}-shadow"
    model_id = deploy(installation, name, champion=as_onnx(ours()), shadow=upstream)

    with everybody(installation, name) as load:
        load.await_more(40)
        upstream.kill()
        wait_until(lambda: dropped(installation, name), what="copies that the open circuit drops")
        before_restart = set(load.ledger(AskingRows).acknowledged)
        upstream.start()
        restarted = time.monotonic()
        wait_until(
            lambda: (
                shadowed(installation, model_id) & set(load.ledger(AskingRows).acknowledged) - before_restart
            ),
            what="pairs after the restart",
        )
        recovery_s = time.monotonic() - restarted

    told = load.ledger(AskingRows, AskingRowsWithKey)
    stored = installation.wait_until_stored(model_id, set(told.acknowledged))
    copies = shadowed(installation, model_id)
    tell(
        f"{name}: {len(stored):,} answered, refused {dict(told.refused)}, slowest {told.slowest_s:.1f} s; "
        f"{len(copies):,} paired, again {recovery_s:.1f} s after the restart"
    )
    assert not told.refused
    assert told.unanswered == told.turned_away == 0
    assert stored == dict.fromkeys(told.acknowledged, 1)
    assert copies < stored.keys()
    installation.check_invariants()


def shadowed(installation: Installation, model_id: int) -> set[str]:
    """The prediction ids of which the log has a shadow's row."""
    rows = installation.query(
        "SELECT prediction_id FROM inference_predictionrow WHERE model_id = %s AND role = 'shadow'",
        [model_id],
    )
    return {id_ for (id_,) in rows}


def refused_at_once(installation: Installation, name: str) -> HttpAnswer | None:
    """Ask once; give the answer where it says when to ask again."""
    with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
        connection.write(request(installation, f"/v2/models/{name}/infer", question(some_rows(1, 7))))
        answer = connection.read_answer()
    return answer if "retry-after" in answer.headers else None


def dropped(installation: Installation, name: str) -> float:
    return metric(installation, "driftline_shadow_drops_total", name, "reason").get("circuit_open", 0)


def upstream_calls(installation: Installation, name: str) -> dict[str, float]:
    return metric(installation, "driftline_upstream_calls_total", name, "outcome")


def circuit(installation: Installation, name: str) -> str | None:
    """The state of the circuit to a model's upstream in the one process that serves."""
    states = metric(installation, "driftline_upstream_circuits", name, "state")
    return next((state for state, processes in states.items() if processes), None)


def metric(installation: Installation, name: str, model: str, label: str) -> dict[str, float]:
    """The samples of a metric that belong to a model, by one of their labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{installation.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    pattern = rf'^{name}{{(?=.*model="{model}").*\b{label}="(\w+)".*}} (.+)$'
    return {word: float(value) for word, value in re.findall(pattern, text, re.MULTILINE)}
