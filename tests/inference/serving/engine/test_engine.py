"""The engine without a server: any dialect can ask it, and so can who has read a request already."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inference.protocol.dialect import Headers, InferRequest, Target
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.parameters import NO_FACTS
from inference.protocol.v2.tensors import InvalidRequest
from inference.runtime.session import Array
from inference.serving.callers import InferenceCaller
from inference.serving.engine import completion
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.engine.scheduling import HELD_ROWS
from inference.serving.refusals import Refusal
from inference.serving.responses import Prediction
from inference.serving.routing import Admission, RoutingTable
from inference.serving.versions.versions import LoadedVersion
from inference.signatures import ImageSpec, Signature
from tests.inference.onnx_models import embedding_model, embedding_signature
from tests.inference.serving.engines import with_engine
from tests.inference.serving.given import GIVEN
from tests.inference.serving.running import HeldDisk

BEARER = InferenceCaller(b"Bearer dl_infer")


class CommaCodec:
    """Reads `1,2,3` as one row, and answers with its sum as text."""

    def decode(self, body: bytes, headers: Headers) -> InferRequest:
        values = np.array(body.split(b","), "<f4")
        if len(values) != 3:
            raise InvalidRequest("Send three numbers.")
        return InferRequest(1, [values.tobytes()], None, [0], NO_FACTS)

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> str:
        return ",".join(str(value) for value in outputs.arrays[0][start:stop].ravel())


class CommaDialect:
    """A protocol that exists for these tests alone."""

    usage = "/sum/{model}"

    def parse_path(self, path: bytes) -> Target | None:
        return Target(*path.decode().split("/")[2:]) if path.startswith(b"/sum/") else None

    def compile(self, model: str, version: str, signature: Signature) -> CommaCodec:
        return CommaCodec()


COMMAS = CommaDialect()


def ask_in_commas(engine: Engine, path: bytes, body: bytes) -> "asyncio.Future[Any]":
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    admission = engine.admit(COMMAS, BEARER, path)
    engine.submit(admission, Inbound(COMMAS, BEARER, path, body, {}), answered.set_result)
    return answered


class TestSubmit:
    def test_answers_in_a_dialect_that_it_has_never_heard_of(self, tmp_path: Path) -> None:
        prediction = with_engine(tmp_path, lambda engine: ask_in_commas(engine, b"/sum/sums", b"1,2,3"))

        assert (prediction.content, prediction.log_state) == ("6.0", b"spooled")
        assert prediction.route.version.plan.version == "1"

    def test_refuses_with_a_status_and_a_sentence_for_the_dialect_to_write(self, tmp_path: Path) -> None:
        unread = with_engine(tmp_path, lambda engine: ask_in_commas(engine, b"/sum/sums", b"1,2"))
        unknown = with_engine(tmp_path, lambda engine: ask_in_commas(engine, b"/sum/none", b"1,2,3"))
        lost = with_engine(tmp_path, lambda engine: ask_in_commas(engine, b"/add/sums", b"1,2,3"))

        assert (unread.status, unread.sentence) == (400, "Send three numbers.")
        assert (unknown.status, unknown.sentence) == (404, "There is no model 'none' in this project.")
        assert (lost.status, lost.sentence) == (404, "There is nothing at this path; post to /sum/{model}.")


class TestArriving:
    def test_answers_a_request_whose_version_was_loaded_while_its_body_came(self, tmp_path: Path) -> None:
        def ask(engine: Engine) -> "asyncio.Future[Any]":
            loaded = engine.table
            engine.adopt(RoutingTable(loaded.plan, {}, {}))
            admission = engine.admit(COMMAS, BEARER, b"/sum/sums/1")
            assert admission is None
            engine.adopt(loaded)
            answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            inbound = Inbound(COMMAS, BEARER, b"/sum/sums/1", b"1,2,3", {})
            engine.submit(admission, inbound, answered.set_result)
            return answered

        assert with_engine(tmp_path, ask).content == "6.0"

    def test_logs_what_was_taken_before_the_spool_was_full(self, tmp_path: Path) -> None:
        def ask(engine: Engine) -> "asyncio.Future[Any]":
            answered = ask_in_commas(engine, b"/sum/sums", b"1,2,3")
            engine.spools.measure(engine.options.spool_max_bytes)
            return answered

        prediction = with_engine(tmp_path, ask)

        assert (prediction.content, prediction.log_state) == ("6.0", b"spooled")


class TestAnswers:
    def test_hold_the_rows_of_their_own_request(self, tmp_path: Path) -> None:
        def ask(engine: Engine) -> "asyncio.Future[list[Prediction[list[Array]] | Refusal]]":
            loop = asyncio.get_running_loop()
            admission = engine.admit(COMMAS, BEARER, b"/sum/sums")
            assert isinstance(admission, Admission)
            answered = [loop.create_future() for _ in range(3)]
            for place, future in enumerate(answered):
                values = np.full((place + 1, 3), place, "<f4").tobytes()
                request = InferRequest(place + 1, [values], None, [0], NO_FACTS)
                inbound = Inbound(GIVEN, BEARER, b"/sum/sums", request, {})
                engine.submit(admission, inbound, future.set_result)
            return asyncio.ensure_future(asyncio.gather(*answered))

        predictions: Any = with_engine(tmp_path, ask)

        assert [prediction.content[0].tolist() for prediction in predictions] == [
            [[0]],
            [[3], [3]],
            [[6], [6], [6]],
        ]
        assert len({prediction.prediction_id for prediction in predictions}) == 3

    @pytest.mark.parametrize(("max_loop_values", "is_in_loop"), [(48, True), (47, False)])
    def test_of_large_images_are_logged_in_a_thread(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_loop_values: int, is_in_loop: bool
    ) -> None:
        measuring: list[bool] = []
        features = LoadedVersion.features

        def watched(version: LoadedVersion, *given: Any) -> Any:
            measuring.append(threading.current_thread() is threading.main_thread())
            return features(version, *given)

        def ask(engine: Engine) -> "asyncio.Future[Any]":
            answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            request = InferRequest(1, [np.ones(48, "<f4").tobytes()], None, [0], NO_FACTS)
            admission = engine.admit(COMMAS, BEARER, b"/sum/sums")
            assert isinstance(admission, Admission)
            inbound = Inbound(GIVEN, BEARER, b"/sum/sums", request, {})
            engine.submit(admission, inbound, answered.set_result)
            return answered

        monkeypatch.setattr(completion, "MAX_LOOP_VALUES", max_loop_values)
        monkeypatch.setattr(LoadedVersion, "features", watched)
        plain = embedding_signature()
        signature = msgspec.structs.replace(
            plain, outputs=plain.outputs[:1], embedding_output=None, image=ImageSpec("NCHW", 0, 1)
        )

        prediction = with_engine(tmp_path, ask, serves=(embedding_model(), signature))

        assert (prediction.content[0].tolist(), prediction.log_state) == ([[48.0]], b"spooled")
        assert measuring == [is_in_loop]

    def test_refuses_what_the_caller_may_not_send(self, tmp_path: Path) -> None:
        def ask(engine: Engine) -> "asyncio.Future[Any]":
            answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            admission = engine.admit(COMMAS, BEARER, b"/sum/sums")
            assert isinstance(admission, Admission)
            facts = msgspec.structs.replace(NO_FACTS, event_times_us=[0])
            request = InferRequest(1, [bytes(12)], None, [0], facts)
            inbound = Inbound(GIVEN, BEARER, b"/sum/sums", request, {})
            engine.submit(admission, inbound, answered.set_result)
            return answered

        assert with_engine(tmp_path, ask).status == 403


class TestWhileTheDiskIsAtWork:
    def test_runs_what_arrives_as_one_batch_once_the_sync_ends(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = HeldDisk()
        monkeypatch.setattr("inference.serving.engine.journal.open_disk_sync", lambda: disk)

        async def ask(engine: Engine) -> list[int]:
            answered = [ask_in_commas(engine, b"/sum/sums", b"1,2,3")]
            for _ in range(4):
                await _one_turn()
                answered.append(ask_in_commas(engine, b"/sum/sums", b"1,2,3"))
            batches = [_runs(engine)]
            disk.finish()
            batches.append(_runs(engine))
            disk.finish()
            await asyncio.gather(*answered)
            return batches

        batches = with_engine(tmp_path, ask, fsync="group")

        assert batches == [1, 2]

    def test_does_not_hold_back_a_whole_batch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = HeldDisk()
        monkeypatch.setattr("inference.serving.engine.journal.open_disk_sync", lambda: disk)

        async def ask(engine: Engine) -> int:
            answered = [ask_in_commas(engine, b"/sum/sums", b"1,2,3")]
            await _one_turn()
            answered += [ask_in_commas(engine, b"/sum/sums", b"1,2,3") for _ in range(HELD_ROWS)]
            await _one_turn()
            runs = _runs(engine)
            disk.finish()
            disk.finish()
            await asyncio.gather(*answered)
            return runs

        assert with_engine(tmp_path, ask, fsync="group") == 2


async def _one_turn() -> None:
    """Let the engine's turn pass, which stands in the event loop already."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def _runs(engine: Engine) -> int:
    return sum(engine.metrics.snapshot()["series"]["1/champion/1"]["batch_rows"]["counts"])
