"""A canary answers its share, the same callers each time, and says so."""

import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from inference.serving.plan import PlanCanary, PlanModel
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.running import (
    Connection,
    Response,
    Server,
    publish,
    request_bytes,
    rows_body,
    running_server,
    token,
)
from tests.waiting import wait_until

COINS = "/v2/models/coins/infer"
CALLERS = [f"customer {number}" for number in range(200)]


def deploy(home: Path, canary: PlanCanary | None, generation: int = 1) -> None:
    heads = store(home, constant_classifier(0.25, 3), classifier_signature(3), id=1, version="1")
    tails = store(home, constant_classifier(0.75, 3), classifier_signature(3), id=2, version="2")
    other = store(home, constant_classifier(0.75, 4), classifier_signature(4), id=3, version="3")
    model = PlanModel(1, 1, "coins", generation, "1", [], [heads, tails, other], canary=canary)
    publish(home, [model], [token("dl_infer")], generation)


def ask(connection: Connection, subject: str | None = None, path: str = COINS, **more: object) -> Response:
    parameters = {"driftline_subject": subject} if subject else {}
    body = rows_body([1, 2, 3], parameters=parameters | more.pop("parameters", {}), **more)  # type: ignore[operator]
    connection.send(request_bytes(path, body))
    return connection.receive()


def sides(connection: Connection) -> dict[str, str]:
    return {caller: ask(connection, caller).headers["driftline-version"] for caller in CALLERS}


@contextmanager
def connected_to_each(server: Server) -> Iterator[list[Connection]]:
    """Open a connection to each worker: one takes it while the others stand still."""
    workers = {status["pid"] for status in server.status_files()}
    with ExitStack() as stack:
        connections = []
        for worker in workers:
            with stalled(workers - {worker}):
                connections.append(stack.enter_context(server.connect()))
                assert ask(connections[-1]).status == 200
        yield connections


@contextmanager
def stalled(pids: Iterable[int]) -> Iterator[None]:
    """Have processes stand still meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class TestCanary:
    def test_answers_its_share_and_each_answer_is_of_the_version_it_names(self, tmp_path: Path) -> None:
        deploy(tmp_path, PlanCanary("2", 0.3, "subject"))
        with running_server(tmp_path) as server, server.connect() as connection:
            answers = [ask(connection) for _ in range(600)]
            champion = sum(len(batch.ids) for batch in server.spooled("champion"))
            canary = server.spooled("canary")

        seen = Counter(
            (
                answer.headers["driftline-version"],
                answer.json["model_version"],
                answer.json["outputs"][0]["data"][0],
            )
            for answer in answers
        )
        assert set(seen) == {("1", "1", 0), ("2", "2", 1)}
        assert 113 < seen["2", "2", 1] < 247  # of 600 at 0.3; six standard deviations are 67
        assert sum(len(batch.ids) for batch in canary) == seen["2", "2", 1]
        assert champion == seen["1", "1", 0]
        assert {batch.version_id for batch in canary} == {2}

    def test_leaves_a_request_that_names_a_version_to_that_version(self, tmp_path: Path) -> None:
        deploy(tmp_path, PlanCanary("2", 0.9, "subject"))
        with running_server(tmp_path) as server, server.connect() as connection:
            versions = {
                named: Counter(
                    (answer.headers["driftline-version"], answer.json["outputs"][0]["data"][0])
                    for answer in (
                        ask(connection, caller, path=f"/v2/models/coins/versions/{named}/infer")
                        for caller in CALLERS[:50]
                    )
                )
                for named in ("1", "2")
            }
            logged = {
                role: [(batch.version_id, len(batch.ids)) for batch in server.spooled(role)]
                for role in ("champion", "canary")
            }

        assert versions == {"1": {("1", 0): 50}, "2": {("2", 1): 50}}
        assert {version for version, _ in logged["champion"]} == {1}
        assert sum(rows for _, rows in logged["champion"]) == 50
        assert logged["canary"] == []

    def test_keeps_each_subject_on_its_side_in_every_process_while_the_weight_grows(
        self, tmp_path: Path
    ) -> None:
        deploy(tmp_path, PlanCanary("2", 0.1, "subject"))
        with running_server(tmp_path, workers=2) as server, connected_to_each(server) as workers:
            few, *as_few = [sides(connection) for connection in workers]
            deploy(tmp_path, PlanCanary("2", 0.5, "subject"), generation=2)
            wait_until(lambda: {status["generation"] for status in server.status_files()} == {2})
            many, *as_many = [sides(connection) for connection in workers]

        assert (as_few, as_many) == ([few], [many])  # two workers, the same sides
        of_canary = {caller for caller, version in few.items() if version == "2"}
        assert of_canary
        assert of_canary < {caller for caller, version in many.items() if version == "2"}

    def test_goes_by_a_tag_or_by_the_clients_own_id_where_that_is_the_key(self, tmp_path: Path) -> None:
        deploy(tmp_path, PlanCanary("2", 0.5, "tag:shop"))
        with running_server(tmp_path) as server, server.connect() as connection:
            shops = {
                shop: {
                    ask(connection, f"{turn}", parameters={"driftline_tags": f'{{"shop":"{shop}"}}'}).headers[
                        "driftline-version"
                    ]
                    for turn in range(20)
                }
                for shop in range(10)
            }
            deploy(tmp_path, PlanCanary("2", 0.5, "client_id"), generation=2)
            wait_until(lambda: server.status_files()[0]["generation"] == 2)
            clients = {
                client: {
                    ask(connection, f"{turn}", id=client).headers["driftline-version"] for turn in range(20)
                }
                for client in CALLERS[:10]
            }

        for versions in (*shops.values(), *clients.values()):
            assert len(versions) == 1
        assert {*map(frozenset, shops.values())} == {frozenset({"1"}), frozenset({"2"})}

    def test_leaves_all_to_the_champion_where_it_cannot_be_loaded(self, tmp_path: Path) -> None:
        deploy(tmp_path, PlanCanary("2", 0.9, "subject"))
        [path] = {
            tmp_path / version.path
            for version in [
                store(tmp_path, constant_classifier(0.75, 3), classifier_signature(3), id=2, version="2")
            ]
        }
        path.write_bytes(b"other bytes")
        with running_server(tmp_path) as server, server.connect() as connection:
            versions = {ask(connection).headers["driftline-version"] for _ in range(20)}
            [status] = server.status_files()

        assert versions == {"1"}
        assert "The canary does not answer" in status["stale_models"]["1"]
