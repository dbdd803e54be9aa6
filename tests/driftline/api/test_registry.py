"""From an uploaded file to a promotion and back, over HTTP."""

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest.mock import Mock

import onnx
import orjson
import pytest
from django.conf import settings
from django.test import override_settings
from onnx import TensorProto, helper
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry
from inference.registry.intake import inspect_artifact
from inference.registry.models import PlanGeneration, Version
from inference.serving.plan import PLAN_FILE, PlanCanary, load_plan
from inference.serving.status.status import live_reports
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.driftline.api.uploads import METADATA, form, onnx_file
from tests.inference.onnx_models import summing_model
from tests.inference.registry.onnx_files import memory_bomb
from tests.shared_rows import rows_of_many_tests

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

MODEL = "/models/delay"


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


def uploader(api: Api) -> Any:
    def send(
        *,
        remark: int = 1,
        file: bytes | None = None,
        filename: bytes = b"a",
        headers: dict[str, str] | None = None,
        **parts: bytes,
    ) -> Any:
        told = {"metadata": orjson.dumps(METADATA), "lineage": b'{"trainer":"by hand"}'} | parts
        body = form(file=file or onnx_file(remark=str(remark)), filename=filename, **told)
        return api.post(
            f"{MODEL}/versions", body, content_type="multipart/form-data; boundary=x", **headers or {}
        )

    return send


@pytest.fixture
def upload(api: Api, db: None) -> Any:
    api.post("/models", {"name": "delay", "task": "regression"})
    return uploader(api)


@pytest.fixture(scope="class")
def two(api: Api, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A model of two versions, uploaded once for a class."""
    with rows_of_many_tests(django_db_blocker):
        api.post("/models", {"name": "delay", "task": "regression"})
        upload = uploader(api)
        upload()
        assert upload(remark=2).json()["version"] == "2"
        yield


def test_an_upload_is_inspected_and_the_first_becomes_champion(api: Api, upload: Any) -> None:
    answer = upload()

    assert answer.status_code == 201, answer.content
    version = answer.json()
    assert (version["version"], version["is_external"], version["lineage"]) == (
        "1",
        False,
        {"trainer": "by hand"},
    )
    assert [feature["name"] for feature in version["signature"]["features"]] == ["f0", "f1"]
    assert version["intake_report"]
    assert api.get(f"{MODEL}/deployment").json() == {
        "champion": "1",
        "previous": None,
        "shadows": [],
        "shadow_shares": {},
        "canary": None,
        "generation": 1,
    }


def test_the_same_file_again_is_the_same_version(api: Api, upload: Any) -> None:
    first, again = upload(), upload()

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(api.get(f"{MODEL}/versions").json()["items"]) == 1


def test_the_same_file_for_another_execution_provider_is_another_version(api: Api, upload: Any) -> None:
    for_cuda = orjson.dumps(METADATA | {"execution_provider": "cuda"})

    first, other, again = upload(), upload(metadata=for_cuda), upload(metadata=for_cuda)
    taken = upload(metadata=for_cuda, version=b"1")

    assert [
        (answer.status_code, answer.json()["version"], answer.json()["execution_provider"])
        for answer in (first, other, again)
    ] == [(201, "1", "cpu"), (201, "2", "cuda"), (200, "2", "cuda")]
    assert_problem(taken, 409, "version_exists")


def stored_files() -> list[str]:
    return sorted(path.name for path in settings.HOME.glob("artifacts/**/*") if path.is_file())


class TestUpload:
    """Rows 56 to 58 of the bad-input catalogue."""

    @pytest.fixture(autouse=True)
    def own_home(self, settings: Any, tmp_path: Path) -> None:
        """Store where no other test does."""
        settings.HOME = tmp_path

    def test_bytes_other_than_announced_are_refused_and_not_kept(self, upload: Any) -> None:
        before = stored_files()

        answer = upload(headers={"Driftline_Sha256": "0" * 64})

        assert_problem(answer, 422, "digest_mismatch")
        assert stored_files() == before

    def test_a_refused_model_is_not_kept(self, upload: Any) -> None:
        before = stored_files()

        answer = upload(file=memory_bomb())

        assert_problem(answer, 422, "resource_limit")
        assert stored_files() == before

    def test_a_version_may_be_named_once(self, api: Api, upload: Any) -> None:
        named = upload(remark=1, version=b"build-7")
        again = upload(remark=1, version=b"build-7")
        other = upload(remark=2, version=b"build-7")

        assert (named.status_code, named.json()["version"]) == (201, "build-7")
        assert (again.status_code, again.json()["version"]) == (200, "build-7")
        assert_problem(other, 409, "version_exists")
        assert [version["version"] for version in api.get(f"{MODEL}/versions").json()["items"]] == ["build-7"]

    @pytest.mark.parametrize(
        "filename",
        [
            b"../escaped.onnx",
            b"../../../../tmp/escaped.onnx",
            b"a\0b.onnx",
            b"x" * 300,
            b"CON",
            b"C:\\windows\\a",
            b"\xff\xfe",
            b"",
        ],
        ids=["climbs", "climbs far", "NUL", "long", "device", "drive", "not UTF-8", "empty"],
    )
    def test_the_files_name_never_becomes_a_path(self, upload: Any, filename: bytes) -> None:
        answer = upload(filename=filename)

        if answer.status_code == 201:
            assert stored_files() == [f"{answer.json()['sha256']}.onnx"]
        else:  # Django takes a part whose file has no usable name for a field
            assert_problem(answer, 422, "missing_field")
        assert not list(settings.HOME.parent.rglob("*escaped*"))

    def test_a_full_disk_is_said_and_nothing_is_left(
        self, upload: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = stored_files()

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("inference.registry.files.artifacts.receive_file", full)
            answer = upload()

        assert_problem(answer, 507, "insufficient_storage")
        assert stored_files() == before


class TestLineage:
    def test_is_stored_as_told(self, api: Api, upload: Any) -> None:
        upload()
        told = {
            "trainer": "nightly.py",
            "parameters": {"trees": 80},
            "seed": 7,
            "parent": "1",
            "trigger": "build 12",
            "data": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "training_rows": 400},
            "libraries": {"scikit-learn": "1.9"},
        }

        answer = upload(remark=2, lineage=orjson.dumps(told))

        assert answer.json()["lineage"] == told
        assert api.get(f"{MODEL}/versions/2").json()["lineage"] == told

    @pytest.mark.parametrize(
        ("lineage", "code", "pointer"),
        [
            ({"run": 1}, "invalid_parameter", "/lineage/run"),
            ({"parent": "9"}, "invalid_parameter", "/lineage/parent"),
            ({"author": "me"}, "unknown_field", "/lineage/author"),
            ({"data": {"rows": -1}}, "unknown_field", "/lineage/data/rows"),
            ({"data": {"training_rows": "many"}}, "invalid_parameter", "/lineage/data/training_rows"),
            ({"trainer": "x\0"}, "invalid_text", "/trainer"),
            ({"parameters": {"a": "x" * 70_000}}, "invalid_parameter", "/lineage"),
        ],
    )
    def test_is_refused_where_it_is_not_one(
        self, upload: Any, lineage: dict[str, Any], code: str, pointer: str
    ) -> None:
        answer = upload(lineage=orjson.dumps(lineage))

        assert_problem(answer, 422, code)
        assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.fixture
def no_plan() -> None:
    """A home without a plan: models of tests before are rolled back, and stay in the plan that these changed."""
    for path in settings.HOME.glob("plan*.json*"):
        path.unlink()


class TestAliases:
    def plan_aliases(self) -> dict[str, str]:
        [model] = load_plan(settings.HOME / "plan.json").models
        return model.aliases

    def test_point_at_one_version_and_are_published(
        self, api: Api, no_plan: None, two: None, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            set_ = api.send("PUT", f"{MODEL}/aliases/stable", {"version": "1"})
            api.send("PUT", f"{MODEL}/aliases/2026.11", {"version": "2"})
        assert self.plan_aliases() == {"2026.11": "2", "stable": "1"}
        with django_capture_on_commit_callbacks(execute=True):
            api.send("PUT", f"{MODEL}/aliases/stable", {"version": "2"})
            removed = api.send("DELETE", f"{MODEL}/aliases/2026.11")

        assert set_.json() == {"alias": "stable", "version": "1"}
        assert removed.status_code == 204
        assert api.get(f"{MODEL}/aliases").json()["items"] == [{"alias": "stable", "version": "2"}]
        assert api.get(f"{MODEL}/versions/2").json()["aliases"] == ["stable"]
        assert api.get(f"{MODEL}/versions/1").json()["aliases"] == []
        assert self.plan_aliases() == {"stable": "2"}

    def test_leave_their_trace_in_the_audit(self, api: Api, two: None) -> None:
        for version in ("1", "2", "2"):
            api.send("PUT", f"{MODEL}/aliases/stable", {"version": version})
        api.send("DELETE", f"{MODEL}/aliases/stable")

        entries = AuditEntry.objects.filter(subject="delay stable").order_by("pk")
        assert [(entry.action, entry.before, entry.after) for entry in entries] == [
            ("alias.set", None, {"version": "1"}),
            ("alias.set", {"version": "1"}, {"version": "2"}),
            ("alias.remove", {"version": "2"}, None),
        ]

    @pytest.mark.parametrize(
        ("alias", "version", "status", "code"),
        [
            ("stable", "9", 404, "version_not_found"),
            ("a%20b", "1", 422, "invalid_parameter"),
            ("x" * 65, "1", 422, "invalid_parameter"),
        ],
    )
    def test_are_refused_with_a_reason(
        self, api: Api, two: None, alias: str, version: str, status: int, code: str
    ) -> None:
        assert_problem(api.send("PUT", f"{MODEL}/aliases/{alias}", {"version": version}), status, code)

    def test_one_that_is_not_there_cannot_be_removed(self, api: Api, two: None) -> None:
        assert_problem(api.send("DELETE", f"{MODEL}/aliases/stable"), 404, "alias_not_found")


@pytest.fixture(scope="class")
def home_of_champion(
    api: Api, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The home of a model with a champion, uploaded once for a class."""
    home = tmp_path_factory.mktemp("home")
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=home):
        api.post("/models", {"name": "delay", "task": "regression"})
        assert uploader(api)().status_code == 201
        yield home


class TestPromotingWhatShouldNotAnswer:
    """Rows 59 and 60 of the bad-input catalogue: uploaded, but never promoted."""

    @pytest.fixture
    def upload(self, api: Api, home_of_champion: Path, settings: Any, tmp_path: Path) -> Any:
        """Upload into a copy of that home, as some of these tests damage what is stored."""
        settings.HOME = copytree(home_of_champion, tmp_path, dirs_exist_ok=True)
        return uploader(api)

    def put_reference(self, api: Api, least: int = -30, model: str = MODEL) -> None:
        csv = b"f0,f1\n" + b"".join(b"%d,%d\n" % (row + least, row * 2) for row in range(60))
        answer = api.send("PUT", f"{model}/reference?version=1", csv, content_type="text/csv")
        assert answer.status_code in (200, 201, 202), answer.content

    def promote(self, api: Api, model: str = MODEL) -> Any:
        return api.post(f"{model}/promote", {"version": "2"}, If_Match="1")

    def set_canary(self, api: Api) -> Any:
        canary = {"version": "2", "weight": 0.1}
        return api.send("PATCH", f"{MODEL}/deployment", {"canary": canary}, If_Match="1")

    def test_other_inputs_than_the_champions(self, api: Api, upload: Any) -> None:
        uploaded = upload(file=summing_model(3), metadata=b'{"outputs": {"prediction": "sum"}}')

        assert uploaded.status_code == 201
        assert_problem(self.promote(api), 409, "incompatible_signature")

    def test_a_constant(self, api: Api, upload: Any) -> None:
        self.put_reference(api)
        uploaded = upload(file=scaled_model(0.0))

        answer = self.promote(api)

        assert uploaded.status_code == 201
        assert uploaded.json()["intake_report"]["reference"]["rows"] == 60
        assert_problem(answer, 409, "validation_failed")
        assert "from 0 to 0) for each of 60 rows" in answer.json()["detail"]
        assert api.get(f"{MODEL}/deployment").json()["champion"] == "1"

    def test_a_constant_whole_number(self, api: Api, upload: Any) -> None:
        api.post("/models", {"name": "count", "task": "regression"})
        model = "/models/count"
        for factor in (1.0, 0.0):
            body = form(file=rounded_model(factor), metadata=orjson.dumps(METADATA))
            answer = api.post(f"{model}/versions", body, content_type="multipart/form-data; boundary=x")
            assert answer.status_code == 201, answer.content
        self.put_reference(api, model=model)

        for stored_without_range in (False, True):
            if stored_without_range:
                lose_range("count")
            answer = self.promote(api, model=model)

            assert_problem(answer, 409, "validation_failed")
            expected = (
                "'sum' for each of 60" if stored_without_range else "'sum' (from 0 to 0) for each of 60"
            )
            assert expected in answer.json()["detail"]

    def test_no_number(self, api: Api, upload: Any) -> None:
        self.put_reference(api)
        uploaded = upload(file=root_model())

        answer = self.promote(api)

        assert any("not finite in" in warning for warning in uploaded.json()["intake_report"]["warnings"])
        assert_problem(answer, 409, "validation_failed")
        assert "50.0% of the values of 'sum' for 60 rows" in answer.json()["detail"]

    def test_is_found_by_a_reference_that_came_after_the_upload(self, api: Api, upload: Any) -> None:
        uploaded = upload(file=scaled_model(0.0))
        self.put_reference(api)

        answer = self.promote(api)

        assert uploaded.json()["intake_report"]["reference"] is None
        assert_problem(answer, 409, "validation_failed")

    def test_one_that_the_intake_of_today_refuses(self, api: Api, upload: Any) -> None:
        version = Version.objects.get(version=upload(file=scaled_model(2.0)).json()["version"])
        path = settings.HOME / version.path
        self.put_reference(api)
        path.chmod(0o600)
        path.write_bytes(memory_bomb())

        promoted = self.promote(api)
        canary = self.set_canary(api)

        for answer in (promoted, canary):
            assert_problem(answer, 409, "validation_failed")
            assert "is refused by the intake of today: The model needs more memory" in answer.json()["detail"]

    def test_one_whose_file_is_lost(self, api: Api, upload: Any) -> None:
        version = Version.objects.get(version=upload(file=scaled_model(2.0)).json()["version"])
        self.put_reference(api)
        (settings.HOME / version.path).unlink()

        promoted = self.promote(api)
        canary = self.set_canary(api)

        for answer in (promoted, canary):
            assert_problem(answer, 410, "artifact_lost")

    def test_is_found_by_a_newer_reference_than_that_of_the_upload(self, api: Api, upload: Any) -> None:
        self.put_reference(api, least=0)
        uploaded = upload(file=root_model())
        self.put_reference(api, least=-30)

        answer = self.promote(api)

        assert_problem(answer, 409, "validation_failed")
        assert uploaded.json()["intake_report"]["reference"]["outputs"]["sum"]["finite_share"] == 1
        assert "50.0% of the values of 'sum'" in answer.json()["detail"]

    def test_a_reference_is_tried_once_also_where_it_lacks_the_columns(
        self, api: Api, upload: Any, monkeypatch: Any
    ) -> None:
        named = {"features": [{"name": "g0"}, {"name": "g1"}], "outputs": {"prediction": "sum"}}
        uploaded = upload(file=scaled_model(2.0), metadata=orjson.dumps(named))
        self.put_reference(api)
        examine = Mock(wraps=inspect_artifact)
        monkeypatch.setattr("inference.registry.validation.inspect_artifact", examine)

        answers = [self.set_canary(api), self.promote(api), self.set_canary(api)]

        report = api.get(f"{MODEL}/versions/2").json()["intake_report"]
        assert uploaded.json()["intake_report"]["reference_sha256"] is None
        assert report["reference"] is None
        assert len(report["reference_sha256"]) == 64
        assert examine.call_count == 1
        assert "validation_failed" not in {answer.json().get("code") for answer in answers}

    def test_a_model_that_answers_is_promoted(self, api: Api, upload: Any) -> None:
        self.put_reference(api)
        uploaded = upload(file=scaled_model(2.0))

        answer = self.promote(api)

        assert answer.status_code == 200, answer.content
        assert uploaded.json()["intake_report"]["reference"]["outputs"]["sum"] == {
            "finite_share": 1.0,
            "least": -60.0,
            "greatest": 58.0,
            "constant": False,
        }


def scaled_model(factor: float) -> bytes:
    """A model of the champion's inputs and outputs that answers its first column times a factor."""
    factors = helper.make_tensor("factors", TensorProto.FLOAT, [2, 1], [factor, 0.0])
    return edited([helper.make_node("MatMul", ["X", "factors"], ["sum"])], factors)


def rounded_model(factor: float) -> bytes:
    """A model that answers its first column times a factor as a whole number."""
    model = onnx.load_from_string(scaled_model(factor))
    model.graph.node[0].output[0] = "scaled"
    model.graph.node.append(helper.make_node("Cast", ["scaled"], ["sum"], to=TensorProto.INT64))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model.SerializeToString()


def lose_range(model: str) -> None:
    """Store the report as an older release did, which told the range of floats only."""
    version = Version.objects.get(model__name=model, version="2")
    assert version.intake_report is not None
    version.intake_report["reference"]["outputs"]["sum"] |= {"least": None, "greatest": None}
    version.save()


def root_model() -> bytes:
    """A model of the champion's inputs and outputs that answers the root of its first column: NaN where negative."""
    first = helper.make_tensor("first", TensorProto.FLOAT, [2, 1], [1.0, 0.0])
    return edited(
        [helper.make_node("MatMul", ["X", "first"], ["x"]), helper.make_node("Sqrt", ["x"], ["sum"])], first
    )


def edited(nodes: list[onnx.NodeProto], constant: onnx.TensorProto) -> bytes:
    model = onnx.load_from_string(summing_model(2))
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(constant)
    return model.SerializeToString()


class TestDeployment:
    def test_shadows_promotion_and_rollback(self, api: Api, two: None) -> None:
        shadowed = api.send("PATCH", f"{MODEL}/deployment", {"shadows": ["2"]}, If_Match="1").json()
        promoted = api.post(f"{MODEL}/promote", {"version": "2", "reason": "better"}, If_Match='"2"').json()
        rolled_back = api.post(f"{MODEL}/rollback", If_Match="3").json()

        assert (shadowed["shadows"], shadowed["generation"]) == (["2"], 2)
        assert (promoted["champion"], promoted["previous"], promoted["shadows"]) == ("2", "1", [])
        assert (rolled_back["champion"], rolled_back["generation"]) == ("1", 4)

    def test_a_canary_is_set_and_ended(self, api: Api, two: None) -> None:
        path = f"{MODEL}/deployment"

        wanted = {"version": "2", "weight": 0.1, "key": "tag:shop"}
        begun = api.send("PATCH", path, {"canary": wanted}, If_Match="1").json()
        left = api.send("PATCH", path, {"shadows": []}, If_Match="2").json()
        ended = api.send("PATCH", path, {"canary": None}, If_Match="2").json()

        assert begun["canary"].items() >= wanted.items()
        assert begun["canary"]["split"] == {"champion": 0, "canary": 0, "p_value": None, "mismatch": False}
        assert (left["canary"]["version"], left["generation"]) == ("2", 2)
        assert (ended["canary"], ended["generation"]) == (None, 3)

    def test_a_promotion_ends_the_canary(self, api: Api, two: None) -> None:
        canary = {"version": "2", "weight": 0.1}
        api.send("PATCH", f"{MODEL}/deployment", {"canary": canary}, If_Match="1")

        promoted = api.post(f"{MODEL}/promote", {"version": "2"}, If_Match="2").json()

        assert (promoted["champion"], promoted["canary"]) == ("2", None)

    @pytest.mark.parametrize(
        "canary",
        [
            {"version": "1", "weight": 0.1},
            {"version": "2", "weight": 1},
            {"version": "2", "weight": 0.1, "key": "x"},
        ],
    )
    def test_a_canary_that_makes_no_sense_is_refused(
        self, api: Api, two: None, canary: dict[str, Any]
    ) -> None:
        answer = api.send("PATCH", f"{MODEL}/deployment", {"canary": canary}, If_Match="1")

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("/canary")

    def test_shadows_get_shares(self, api: Api, two: None) -> None:
        path = f"{MODEL}/deployment"

        sampled = api.send("PATCH", path, {"shadows": ["2"], "shadow_shares": {"2": 0.25}}, If_Match="1")
        unknown = api.send("PATCH", path, {"shadow_shares": {"9": 0.25}}, If_Match="2")

        assert (sampled.json()["shadows"], sampled.json()["shadow_shares"]) == (["2"], {"2": 0.25})
        assert unknown.status_code == 422

    def test_an_execution_provider_is_chosen(self, api: Api, two: None) -> None:
        chosen = api.send("PATCH", f"{MODEL}/versions/2", {"execution_provider": "cuda"})
        unknown = api.send("PATCH", f"{MODEL}/versions/2", {"execution_provider": "abacus"})

        assert chosen.json()["execution_provider"] == "cuda"
        assert unknown.status_code == 422

    def test_a_change_of_nothing_leaves_no_audit_row(self, api: Api, two: None) -> None:
        answer = api.send("PATCH", f"{MODEL}/versions/2", {})

        assert (answer.status_code, answer.json()["execution_provider"]) == (200, "cpu")
        assert not AuditEntry.objects.filter(action="version.update").exists()

    def test_a_list_reads_once_what_the_serving_processes_say(
        self, api: Api, two: None, monkeypatch: Any
    ) -> None:
        executions = {
            str(version.pk): {"used": "cpu"} for version in Version.objects.filter(model__name="delay")
        }
        read = Mock(wraps=live_reports)
        monkeypatch.setattr("inference.registry.api.live_reports", read)
        with serving_process(generation=1, executions=executions):
            versions = api.get(f"{MODEL}/versions").json()["items"]

        assert [[process["pid"] for process in version["serving"]] for version in versions] == [
            [os.getpid()],
            [os.getpid()],
        ]
        assert read.call_count == 1

    def test_the_plan_says_what_was_chosen(
        self, api: Api, no_plan: None, two: None, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            api.post(f"{MODEL}/promote", {"version": "2"}, If_Match="1")
            canary = {"version": "1", "weight": 0.1}
            api.send("PATCH", f"{MODEL}/deployment", {"canary": canary}, If_Match="2")

        [planned] = [m for m in load_plan(settings.HOME / PLAN_FILE).models if m.name == "delay"]
        assert planned.canary == PlanCanary("1", 0.1, "subject")
        assert (planned.champion, planned.previous) == ("2", "1")
        assert planned.previous_until > time.time()

    def test_a_stale_generation_changes_nothing(self, api: Api, two: None) -> None:
        answer = api.post(f"{MODEL}/promote", {"version": "2"}, If_Match="7")

        assert_problem(answer, 412, "precondition_failed")
        assert api.get(f"{MODEL}/deployment").json()["champion"] == "1"

    def test_an_unknown_version_is_not_found(self, api: Api, two: None) -> None:
        assert_problem(api.post(f"{MODEL}/promote", {"version": "9"}, If_Match="1"), 404, "version_not_found")

    def test_says_which_serving_process_has_it(self, api: Api, two: None, monkeypatch: Any) -> None:
        PlanGeneration.objects.update_or_create(pk=1, defaults={"value": 5})
        monkeypatch.setattr("inference.registry.api.await_uptake", quick_uptake)
        with serving_process(generation=5):
            promoted = api.post(f"{MODEL}/promote", {"version": "2"}, If_Match="1").json()
        with serving_process(generation=4):
            rolled_back = api.post(f"{MODEL}/rollback", If_Match="2").json()

        assert promoted["reported"] == [{"pid": os.getpid(), "host": None, "generation": 2}]
        assert promoted["missing"] == []
        assert rolled_back["reported"] == []
        assert [late["pid"] for late in rolled_back["missing"]] == [os.getpid()]


def quick_uptake(**arguments: Any) -> Any:
    from inference.registry.plan.plan_uptake import await_uptake

    return await_uptake(**arguments, timeout=0)


class serving_process:
    """A status file of a process that lives: ours."""

    def __init__(self, *, generation: int, executions: dict[str, Any] | None = None) -> None:
        self.path: Path = settings.HOME / "serving" / f"{os.getpid()}.json"
        self.report = {
            "pid": os.getpid(),
            "generation": generation,
            "stale_models": {},
            "executions": executions or {},
        }

    def __enter__(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(self.report))

    def __exit__(self, *_: object) -> None:
        self.path.unlink()
