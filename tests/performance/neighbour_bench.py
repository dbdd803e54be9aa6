"""What a neighbour's requests of 10,000 rows do to another project: `python -m tests.performance.neighbour_bench`.

One worker serves two projects. The small project asks for one row at a time on 4 connections; in every second
round the large one asks for 10,000 rows again and again on one connection. Rounds alternate, so that noise falls on
both alike.
"""

import argparse
import json
import multiprocessing
import tempfile
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec
import numpy as np

from inference.serving.plan import load_plan, publish_plan
from tests.inference.serving.running import Connection, request_bytes, running_server, token
from tests.performance.contenders import FEATURES, build_model, publish, write_questions
from tests.performance.load_client import Load, Question, run_load
from tests.performance.rounds import spread, summarise

LARGE_ROWS = 10_000
CONNECTIONS = 4
NEIGHBOUR = "dl_large"

type Answers = "multiprocessing.Queue[int]"


def ask_for_many_rows(
    port: int, rows: list[list[float]], stopping: Event, answers: "multiprocessing.Queue[int]"
) -> None:
    """Ask for all rows at once, again and again."""
    data = [value for row in rows for value in row]
    tensor = {"name": "X", "shape": [LARGE_ROWS, FEATURES], "datatype": "FP32", "data": data}
    body = msgspec.json.encode({"inputs": [tensor]})
    request = request_bytes("/v2/models/trees/infer", body, token=NEIGHBOUR)
    count = 0
    with Connection(port) as connection:
        while not stopping.is_set():
            connection.send(request)
            assert connection.receive().status == 200
            count += 1
    answers.put(count)


def add_neighbour(home: Path) -> None:
    """Give another project the same model."""
    plan = load_plan(home / "plan.json")
    [model] = plan.models
    theirs = msgspec.structs.replace(model, id=2, project_id=2)
    tokens = [*plan.tokens, token(NEIGHBOUR, "infer", project_id=2)]
    publish_plan(msgspec.structs.replace(plan, models=[model, theirs], tokens=tokens), home / "plan.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    model, rows = build_model()
    questions = write_questions(model, rows)
    many = np.resize(rows, (LARGE_ROWS, FEATURES)).round(4).tolist()
    loads: dict[str, list[Load]] = {"alone": [], "beside": []}
    answered: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        publish(home, model)
        add_neighbour(home)
        with running_server(home) as server:
            run_load(server.port, questions, CONNECTIONS, 0.5)
            for number in range(options.rounds):
                for name, asked in (("alone", None), ("beside", many)):
                    load, large = measure(server.port, questions, asked, options.seconds)
                    loads[name].append(load)
                    if asked is not None:
                        answered.append(large)
                    show(number, name, load, large)
    if options.json:
        numbers = {**summarise(loads, ours="beside"), "large_requests": spread(answered)}
        options.json.write_text(json.dumps({"neighbour": numbers}, indent=2))


def measure(
    port: int, questions: list[Question], many: list[list[float]] | None, seconds: float
) -> tuple[Load, int]:
    """Load the small project, beside the large one where there are rows for it; count the large one's answers."""
    if many is None:
        return run_load(port, questions, CONNECTIONS, seconds), 0
    stopping = multiprocessing.Event()
    answers: Answers = multiprocessing.Queue()
    neighbour = multiprocessing.Process(target=ask_for_many_rows, args=(port, many, stopping, answers))
    neighbour.start()
    load = run_load(port, questions, CONNECTIONS, seconds)
    stopping.set()
    large = answers.get(timeout=60)
    neighbour.join()
    return load, large


def show(number: int, name: str, load: Load, large: int) -> None:
    print(
        f"round {number} {name:7} {load.rate:8,.0f} requests/s  "
        f"p50 {load.quantile_ms(0.5):7.2f} ms  p99 {load.quantile_ms(0.99):7.2f} ms  "
        f"{large:3} requests of {LARGE_ROWS:,} rows answered",
        flush=True,
    )


if __name__ == "__main__":
    main()
