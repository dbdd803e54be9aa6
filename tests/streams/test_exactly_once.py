"""Every row of a topic is in the log once, whoever is killed while it is read.

`DRIFTLINE_TEST_STREAM_ROWS` sets how many rows, and `DRIFTLINE_TEST_AWAY_SECONDS` how long the database is away.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.models import Label, PredictionRow
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.streams.broker import Broker
from tests.streams.consumers import (
    ROWS,
    assert_each_row_once,
    consumers_of,
    states,
    stored,
    wait_for_messages,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

PARTITIONS, CONSUMERS, KILLS = 6, 3, 10


def rows(count: int) -> list[bytes]:
    """Items of the logging API with ten features."""
    moment = rfc3339(now())
    return [
        orjson.dumps(
            {
                "id": f"row-{number}",
                "timestamp": moment,
                "version": "1",
                "features": {f"x{column}": (number * 7 + column) % 1000 / 10 for column in range(10)},
                "prediction": number % 2,
            }
        )
        for number in range(count)
    ]


def make_source(
    model: Model, broker: Broker, topic: str, what: str = "predictions", **mapping: Any
) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name=topic,
        what=what,
        settings=KafkaSettings(brokers=[broker.address], topics=[topic]),
        mapping=SourceMapping(**mapping),
    )


def test_three_consumers_of_which_one_after_the_other_is_killed(
    model: Model, broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.create_topic("killed", PARTITIONS)
    broker.send("killed", rows(ROWS))
    source = make_source(model, broker, "killed", envelope="log")
    began = time.monotonic()

    with consumers_of("killed", tmp_path) as consumers:
        for number in range(CONSUMERS):
            consumers.start(number)
        for kill in range(KILLS):
            goal = ROWS * (kill + random.random()) / (KILLS + 1)
            wait_for_messages(source, goal, consumers)
            victim = random.randrange(CONSUMERS)
            consumers.kill(victim)
            consumers.start(victim)
        wait_for_messages(source, ROWS, consumers)
        seconds = time.monotonic() - began
        assert [consumers.stop(number) for number in range(CONSUMERS)] == [0] * CONSUMERS

    with capsys.disabled():
        print(
            f"\n  {ROWS:,} rows, {KILLS} kills: {seconds:.0f} s, {ROWS / seconds:,.0f} rows/s ",
            end="",
            flush=True,
        )
    assert_each_row_once(model, ROWS)
    assert stored(source) == ROWS
    assert not DeadLetter.objects.exists()
    assert not source.consumers.exclude(state="running").exists()


def test_three_processes_of_one_consumer_of_which_one_after_the_other_is_killed(
    model: Model, broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.create_topic("replaced", PARTITIONS)
    broker.send("replaced", rows(ROWS))
    source = make_source(model, broker, "replaced", envelope="log")
    began = time.monotonic()

    with consumers_of("replaced", tmp_path) as consumers:
        consumers.start(0, processes=CONSUMERS)
        for kill in range(KILLS):
            wait_for_messages(source, ROWS * (kill + random.random()) / (KILLS + 1), consumers)
            consumers.kill_process(0)
        wait_for_messages(source, ROWS, consumers)
        seconds = time.monotonic() - began
        assert consumers.stop(0) == 0

    with capsys.disabled():
        print(
            f"\n  {ROWS:,} rows, {KILLS} kills of processes: {seconds:.0f} s, {ROWS / seconds:,.0f} rows/s "
        )
    assert_each_row_once(model, ROWS)
    assert stored(source) == ROWS
    assert not DeadLetter.objects.exists()
    assert not source.consumers.exclude(state="running").exists()


def test_one_consumer_without_a_disturbance(
    model: Model, broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.create_topic("calm", PARTITIONS)
    broker.send("calm", rows(ROWS))
    source = make_source(model, broker, "calm", envelope="log")

    with consumers_of("calm", tmp_path) as consumers:
        consumers.start(0)
        wait_for_messages(source, 1, consumers)
        began, before = time.monotonic(), stored(source)
        wait_for_messages(source, ROWS, consumers)
        seconds, memory = time.monotonic() - began, consumers.memory_mib(0)
        assert consumers.stop(0) == 0

    rate = (ROWS - before) / max(seconds, 1e-3)
    with capsys.disabled():
        print(f"\n  one consumer: {rate:,.0f} rows/s, {memory:.0f} MiB ", end="", flush=True)
    assert_each_row_once(model, ROWS)


def test_json_by_paths_with_poison_in_it(model: Model, broker: Broker, tmp_path: Path) -> None:
    broker.create_topic("mapped", 2)
    good = [{"key": f"k{n}", "at": time.time(), "score": 1, "customer": {"income": n}} for n in range(500)]
    values = [orjson.dumps(one) for one in good]
    for place in (7, 100, 400):
        values[place] = b"\x00poison"
    broker.send("mapped", values)
    source = make_source(
        model,
        broker,
        "mapped",
        id="key",
        timestamp="at",
        prediction="score",
        features="customer",
        default_version="3",
    )

    with consumers_of("mapped", tmp_path) as consumers:
        consumers.start(0)
        wait_for_messages(source, 500, consumers)
        assert consumers.stop(0) == 0

    assert_each_row_once(model, 497)
    assert set(DeadLetter.objects.values_list("code", flat=True)) == {"malformed_json"}
    assert DeadLetter.objects.count() == 3


def test_labels_of_a_topic(model: Model, broker: Broker, tmp_path: Path) -> None:
    broker.create_topic("labels", 2)
    broker.send("labels", [orjson.dumps({"id": f"row-{n}", "label": n % 2}) for n in range(1_000)])
    source = make_source(model, broker, "labels", "labels")

    with consumers_of("labels", tmp_path) as consumers:
        consumers.start(0)
        wait_for_messages(source, 1_000, consumers)
        assert consumers.stop(0) == 0

    assert Label.objects.filter(model=model).count() == 1_000


def test_memory_stays_flat_while_the_broker_is_away(model: Model, broker: Broker, tmp_path: Path) -> None:
    """The broker that comes back is empty, as this one keeps its topics in memory: what is sent anew is read."""
    away = float(os.environ.get("DRIFTLINE_TEST_AWAY_SECONDS", 20))
    first, later = rows(2_000), rows(2_500)[2_000:]
    with Broker.running(tmp_path) as own, consumers_of("away", tmp_path) as consumers:
        own.create_topic("away", 2)
        source = make_source(model, own, "away", envelope="log")
        own.send("away", first)
        consumers.start(0)
        wait_for_messages(source, 2_000, consumers)
        own.kill()
        wait_until(lambda: "waiting" in states(source), what="the trouble")
        before = consumers.memory_mib(0)
        time.sleep(away)
        grown = consumers.memory_mib(0) - before
        own.start()
        own.create_topic("away", 2)
        own.send("away", later)
        wait_until(lambda: logged(model) == 2_500, what="the rows that were sent anew", seconds=120)
        wait_until(lambda: "running" in states(source), what="the broker that is back", seconds=120)
        assert consumers.stop(0) == 0

    assert (
        grown < 48
    )  # MiB: what the client library may read ahead, three times; ten minutes away show a leak
    assert_each_row_once(model, 2_500)


def logged(model: Model) -> int:
    return PredictionRow.objects.filter(model=model).count()
