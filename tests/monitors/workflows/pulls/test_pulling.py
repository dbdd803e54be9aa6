"""A file of a web server or of a hub becomes a version as an upload would, and is compared where that was asked for."""

import hashlib
from functools import partial
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.files import artifacts
from inference.registry.intake.limits import IntakeLimits
from inference.registry.models import Deployment, Model
from monitors.workflows import services as workflows
from monitors.workflows.models import Run
from monitors.workflows.pulls import pulling
from monitors.workflows.pulls.models import Pull
from monitors.workflows.starting.patience import MAX_FAILURES
from tests.monitors.workflows.mlflow.conftest import make_due, train, work
from tests.monitors.workflows.pulls.conftest import Api, api_of
from tests.monitors.workflows.pulls.site import COMMIT, TOKEN, Site
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow

HUGGING_FACE = {
    "hugging_face": {"repository": "harbour/flights", "revision": "main", "file": "onnx/model.onnx"},
    "token": TOKEN,
}


def pull(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """Ask for a pull, let a worker do it, and read what became of it."""
    status, asked = api("POST", body=body)
    assert status == 202, asked
    work()
    _, found = api("GET", f"/{asked['id']}")
    read: dict[str, Any] = found
    return read


class TestAFileOfAHub:
    def test_is_registered_and_a_run_begins_at_the_shadow(
        self, api: Api, table_world: World, hub: Site, store: Site, better: bytes
    ) -> None:
        store.files["/blobs/1"] = better

        found = pull(api, HUGGING_FACE | {"start_run": True})

        assert (found["state"], found["error"], found["commit"]) == ("compared", None, COMMIT)
        run = Run.objects.get(pk=found["run"])
        steps = run.steps.filter(state="pending").order_by("position").values_list("name", flat=True)
        assert steps[0] == "shadow"
        version = table_world.model.versions.get(version=found["version"])
        assert run.challenger == version
        assert version.sha256 == hashlib.sha256(better).hexdigest()
        assert version.lineage["parameters"] == {
            "source": "huggingface", "repository": "harbour/flights", "revision": "main", "commit": COMMIT,
            "file": "onnx/model.onnx",
        }  # fmt: skip
        assert version.lineage["uri"].endswith(f"/harbour/flights/blob/{COMMIT}/onnx/model.onnx")
        assert version.signature is not None
        assert [one["name"] for one in version.signature["features"]] == ["wind", "load"]  # as the champion's

    def test_is_asked_for_with_the_token_that_no_other_server_sees(
        self, api: Api, hub: Site, store: Site, better: bytes
    ) -> None:
        store.files["/blobs/1"] = better

        found = pull(api, HUGGING_FACE)

        assert hub.seen == [("/harbour/flights/resolve/main/onnx/model.onnx", f"Bearer {TOKEN}")]
        assert [authorization for _, authorization in store.seen] == [None]
        assert not found["has_token"]  # it is not needed any more
        assert not Pull.objects.exclude(secret=b"").exists()
        assert TOKEN not in str(list(AuditEntry.objects.values_list("after", flat=True)))

    def test_of_a_branch_with_a_slash_is_asked_for_as_the_hub_wants_it(
        self, api: Api, hub: Site, store: Site, better: bytes
    ) -> None:
        store.files["/blobs/1"] = better

        found = pull(
            api,
            {"hugging_face": {**HUGGING_FACE["hugging_face"], "revision": "refs/pr/1"}, "token": TOKEN},  # type: ignore[dict-item]
        )

        assert found["state"] == "registered"
        assert hub.seen[0][0] == "/harbour/flights/resolve/refs%2Fpr%2F1/onnx/model.onnx"

    def test_fails_where_the_server_names_no_commit(
        self, api: Api, hub: Site, store: Site, better: bytes
    ) -> None:
        store.files["/blobs/1"], hub.commit = better, None

        found = pull(api, HUGGING_FACE)

        assert (found["state"], found["version"]) == ("failed", None)
        assert "DRIFTLINE_HUGGING_FACE_URL" in found["error"]

    def test_that_is_restricted_fails_at_once_without_the_token_in_the_reason(
        self, api: Api, hub: Site
    ) -> None:
        hub.status = 403

        found = pull(api, HUGGING_FACE)

        assert found["state"] == "failed"
        assert "403: not for Bearer ***" in found["error"]
        assert AuditEntry.objects.filter(action="work.failed").count() == 1

        hub.status = 0
        assert decrypt(Pull.objects.get().secret) == TOKEN  # it is tried again with it


class TestAFileOfAWebServer:
    def test_becomes_a_version_and_what_signs_its_address_is_not_shown(
        self, api: Api, table_world: World, store: Site, better: bytes
    ) -> None:
        store.files["/m.onnx"] = better
        digest = hashlib.sha256(better).hexdigest()

        found = pull(
            api,
            {
                "url": f"{store.store_url}/m.onnx?sig=abcdefghij",
                "sha256": f"SHA256:{digest.upper()}",
                "version": "v7",
            },
        )

        assert (found["state"], found["version"], found["sha256"]) == ("registered", "v7", digest)
        assert found["url"] == f"{store.store_url}/m.onnx"
        assert store.seen == [("/m.onnx?sig=abcdefghij", None)]
        version = table_world.model.versions.get(version="v7")
        assert version.lineage["uri"] == f"{store.store_url}/m.onnx"
        assert "abcdefghij" not in str(AuditEntry.objects.values_list("after", "before"))
        assert not Run.objects.exists()

    def test_that_is_the_first_one_answers_without_a_run(
        self, empty_model: Model, store: Site, better: bytes
    ) -> None:
        store.files["/m.onnx"] = better
        metadata = {"features": [{"name": "wind"}, {"name": "load"}]}

        found = pull(
            api_of(empty_model), {"url": f"{store.store_url}/m.onnx", "metadata": metadata, "start_run": True}
        )

        assert (found["state"], found["error"]) == ("champion", None)
        champion = Deployment.objects.get(model=empty_model).champion
        assert champion is not None
        assert champion.signature is not None
        assert [one["name"] for one in champion.signature["features"]] == ["wind", "load"]

    def test_with_another_sha256_is_not_kept(
        self, api: Api, table_world: World, store: Site, better: bytes
    ) -> None:
        store.files["/m.onnx"] = better

        found = pull(api, {"url": f"{store.store_url}/m.onnx", "sha256": "0" * 64})

        assert found["state"] == "failed"
        assert hashlib.sha256(better).hexdigest() in found["error"]
        assert table_world.model.versions.count() == 1

    @pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>"])
    def test_that_is_no_onnx_is_refused_by_the_intake(
        self, api: Api, table_world: World, store: Site, content: bytes
    ) -> None:
        store.files["/m.onnx"] = content

        found = pull(api, {"url": f"{store.store_url}/m.onnx"})

        assert found["state"] == "failed"
        assert "ONNX" in found["error"]
        assert table_world.model.versions.count() == 1

    def test_that_is_too_large_is_refused_without_being_read_to_its_end(
        self, api: Api, store: Site, better: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulling, "DEFAULT_LIMITS", IntakeLimits(file_bytes=100))
        monkeypatch.setattr(artifacts, "receive", partial(artifacts.receive, max_bytes=100))
        store.files["/m.onnx"] = better

        found = pull(api, {"url": f"{store.store_url}/m.onnx"})

        assert (found["state"], found["received_bytes"]) == ("failed", 101)
        assert "larger than 100 bytes" in found["error"]

    def test_at_an_address_that_is_not_allowed_fails_at_once(
        self, api: Api, store: Site, settings: Any
    ) -> None:
        _, asked = api("POST", body={"url": f"{store.store_url}/m.onnx?sig=abcdefghij"})
        settings.OUTBOUND_ALLOW = []

        work()

        _, found = api("GET", f"/{asked['id']}")
        assert found["state"] == "failed"
        assert "DRIFTLINE_OUTBOUND_ALLOW" in found["error"]
        assert store.seen == []


class TestAServerThatFails:
    def test_in_mid_download_leaves_nothing_and_is_tried_again(
        self, api: Api, table_world: World, store: Site, better: bytes
    ) -> None:
        store.files["/m.onnx"], store.cuts = better, 1

        found = pull(api, {"url": f"{store.store_url}/m.onnx?sig=abcdefghij"})

        assert (found["state"], found["version"]) == ("waiting", None)
        assert "connection_error" in found["error"]
        assert table_world.model.versions.count() == 1
        make_due(Pull.objects.all())
        work()
        assert api("GET", f"/{found['id']}")[1]["state"] == "registered"

    def test_for_a_day_is_given_up_until_somebody_asks(self, api: Api, store: Site, better: bytes) -> None:
        store.files["/m.onnx"], store.status = better, 503
        found = pull(api, {"url": f"{store.store_url}/m.onnx"})

        for _ in range(MAX_FAILURES):
            make_due(Pull.objects.all())
            work()

        assert api("GET", f"/{found['id']}")[1]["state"] == "failed"
        store.status = 0
        assert api("POST", f"/{found['id']}/retry")[1]["state"] == "waiting"
        work()
        assert api("GET", f"/{found['id']}")[1]["state"] == "registered"
        assert api("POST", f"/{found['id']}/retry")[0] == 409


class TestARunThatWasAskedFor:
    def test_waits_for_the_one_that_is_under_way_and_starts_once(
        self, api: Api, table_world: World, store: Site, better: bytes
    ) -> None:
        store.files |= {"/1.onnx": better, "/2.onnx": train(turned=True, rows=1_500)}
        first = pull(api, {"url": f"{store.store_url}/1.onnx", "start_run": True})
        second = pull(api, {"url": f"{store.store_url}/2.onnx", "start_run": True})
        assert (second["state"], second["run"]) == ("waiting", None)
        assert second["version"]
        assert "has a run under way" in second["error"]

        workflows.cancel(run=Run.objects.get(pk=first["run"]), actor="ada")
        make_due(Pull.objects.all())
        work()
        Pull.objects.filter(pk=second["id"]).update(
            state="waiting", run=None
        )  # its worker died before it wrote that
        work()

        assert api("GET", f"/{second['id']}")[1]["state"] == "compared"
        assert Run.objects.count() == 2

    def test_that_can_never_start_leaves_the_version_and_says_why(
        self, api: Api, table_world: World, store: Site
    ) -> None:
        store.files["/m.onnx"] = train(turned=True, columns=1)

        found = pull(
            api,
            {
                "url": f"{store.store_url}/m.onnx",
                "metadata": {"features": [{"name": "wind"}]},
                "start_run": True,
            },
        )

        assert (found["state"], found["run"]) == ("failed", None)
        assert found["error"].startswith(f"It is version {found['version']}, and no run compares it.")


class TestAPullThatIsUnderWay:
    def test_says_how_much_arrived_and_ends_when_it_is_cancelled(
        self, api: Api, table_world: World, store: Site, better: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.files["/m.onnx"] = better
        _, asked = api("POST", body={"url": f"{store.store_url}/m.onnx"})
        arrived = []
        monkeypatch.setattr(pulling, "PROGRESS_SECONDS", 0)
        download = pulling.CountedFile.write

        def write_then_cancel(file: pulling.CountedFile, block: bytes) -> int:
            download(file, block)
            arrived.append(api("POST", f"/{asked['id']}/cancel")[1])
            return download(file, block)

        monkeypatch.setattr(pulling.CountedFile, "write", write_then_cancel)
        work()

        [cancelled] = arrived
        assert (cancelled["state"], cancelled["received_bytes"]) == ("cancelled", len(better))
        assert api("GET", f"/{asked['id']}")[1]["state"] == "cancelled"
        assert table_world.model.versions.count() == 1
