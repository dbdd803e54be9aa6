"""Sources over HTTP: made, changed, paused and deleted by those who may, and never seen by another project."""

from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.keys.secrets_at_rest import decrypt
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.dead_letters import RefusedMessage, bury
from inference.prediction_log.sources.models import DeadLetter, Source, SourcePosition
from inference.prediction_log.sources.reading import preview
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import ALL_OBJECTS
from inference.registry.services import create_model
from tests.driftline.api.conftest import Api, caller
from tests.inference.prediction_log.sources.objects.bucket_server import bucket_server

SETTINGS = {"brokers": ["203.0.113.7:9093"], "topics": ["scores"], "security": "sasl_tls", "user": "ada"}


@pytest.fixture(autouse=True)
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the addresses of the documentation for public ones."""
    from driftline.base.outbound import addresses

    monkeypatch.setattr(addresses, "_is_public", lambda address: str(address).startswith("203.0.113."))


@pytest.fixture
def model(api: Api) -> Any:
    return create_model(project=api.project, name="flights", task="binary", actor="test")


def body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "scores",
        "model": "flights",
        "what": "predictions",
        "settings": SETTINGS,
        "secret": "pw",
    } | changes


@pytest.fixture
def source(api: Api, model: Any) -> Source:
    answer = api.post("/sources", body())
    assert answer.status_code == 201, answer.json()
    return Source.objects.get()


def add_letter(source: Source, raw: bytes, offset: int = 0) -> DeadLetter:
    message = StreamMessage(partition="scores/0", offset=offset, value=raw, time_us=1_700_000_000_000_000)
    bury(source.pk, [RefusedMessage(message, "missing_field", "The item has no 'id'.", "/id")])
    return DeadLetter.objects.get(source=source, offset=offset)


def fault(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["pointer"]


class TestLifeCycle:
    def test_a_source_is_created_without_its_secret_in_the_answer(self, api: Api, source: Source) -> None:
        answer = api.get("/sources/scores")

        assert answer.json()["has_secret"]
        assert answer.json()["state"] == "stopped"
        assert "pw" not in answer.content.decode()
        assert decrypt(source.secret) == "pw"
        assert [one["name"] for one in api.get("/sources").json()["items"]] == ["scores"]

    def test_each_change_leaves_an_audit_row_without_the_secret(self, api: Api, source: Source) -> None:
        api.send("PATCH", "/sources/scores", {"secret": "other", "mapping": {"id": "key"}})
        api.post("/sources/scores/pause")
        api.post("/sources/scores/pause")
        api.post("/sources/scores/resume")
        api.send("DELETE", "/sources/scores?confirm=scores")

        entries = AuditEntry.objects.filter(action__startswith="source.").order_by("pk")
        assert [entry.action.removeprefix("source.") for entry in entries] == [
            "create",
            "update",
            "pause",
            "resume",
            "delete",
        ]
        assert entries[1].after["secret"] == "changed"
        assert entries[1].after["mapping"]["id"] == "key"
        assert not any("other" in str(entry.after) + str(entry.before) for entry in entries)

    def test_each_change_has_its_consumers_begin_anew(self, api: Api, source: Source) -> None:
        api.post("/sources/scores/pause")
        api.send("PATCH", "/sources/scores", {"enabled": True})

        source.refresh_from_db()
        assert (source.generation, source.enabled) == (3, True)

    @pytest.mark.parametrize("changed", [{"brokers": ["203.0.113.8:9093"]}, {"user": "eve"}])
    def test_a_secret_is_never_sent_elsewhere(
        self, api: Api, source: Source, changed: dict[str, Any]
    ) -> None:
        api.send("PATCH", "/sources/scores", {"settings": SETTINGS | {"topics": ["others"]}})
        source.refresh_from_db()
        assert source.secret

        api.send("PATCH", "/sources/scores", {"settings": SETTINGS | changed})
        source.refresh_from_db()
        assert not source.secret

    def test_the_secret_of_a_schema_registry_is_kept_to_itself_and_sent_nowhere_else(
        self, api: Api, source: Source
    ) -> None:
        with_registry = SETTINGS | {"registry_url": "https://203.0.113.9", "registry_user": "eve"}
        changed = api.send("PATCH", "/sources/scores", {"settings": with_registry, "registry_secret": "r-pw"})
        assert changed.json()["has_registry_secret"]
        assert "r-pw" not in changed.content.decode()
        source.refresh_from_db()
        assert decrypt(source.registry_secret) == "r-pw"
        assert AuditEntry.objects.filter(action="source.update").get().after["registry_secret"] == "changed"

        moved = with_registry | {"registry_url": "https://203.0.113.10"}
        changed = api.send("PATCH", "/sources/scores", {"settings": moved})

        assert not changed.json()["has_registry_secret"]
        assert changed.json()["has_secret"]

    def test_a_deletion_is_confirmed_by_the_name_and_leaves_the_rows(self, api: Api, source: Source) -> None:
        SourcePosition.objects.create(source=source, partition="scores/0", next_offset=4)
        add_letter(source, b"{")

        refused = api.send("DELETE", "/sources/scores?confirm=score")
        assert (refused.status_code, refused.json()["code"]) == (409, "confirmation_needed")
        assert api.send("DELETE", "/sources/scores?confirm=scores").status_code == 204
        assert [kind.objects.count() for kind in (Source, SourcePosition, DeadLetter)] == [0, 0, 0]

    def test_a_name_is_taken_once_a_project(self, api: Api, source: Source) -> None:
        assert api.post("/sources", body()).json()["code"] == "name_taken"

    def test_its_consumer_group_is_its_own_and_kept(self, api: Api, source: Source) -> None:
        group = source.settings["group"]
        api.post("/sources", body(name="other"))
        api.send("PATCH", "/sources/scores", {"settings": SETTINGS | {"topics": ["more"]}})

        source.refresh_from_db()
        assert source.settings["group"] == group
        assert len(set(Source.objects.values_list("settings__group", flat=True))) == 2

    def test_a_group_that_another_source_of_the_topic_has_is_refused(self, api: Api, source: Source) -> None:
        same = SETTINGS | {"group": source.settings["group"]}

        assert fault(api.post("/sources", body(name="b", settings=same))) == (422, "/settings/group")
        elsewhere = body(name="b", settings=same | {"topics": ["others"]})
        assert api.post("/sources", elsewhere).status_code == 201
        moved = api.send("PATCH", "/sources/b", {"settings": same})
        assert fault(moved) == (422, "/settings/group")

    def test_a_project_has_ten_at_most(self, api: Api, model: Any) -> None:
        made = [api.post("/sources", body(name=f"s{number}")).status_code for number in range(10)]
        refused = api.post("/sources", body(name="one more"))

        assert set(made) == {201}
        assert (refused.status_code, refused.json()["code"]) == (409, "too_many_sources")
        assert "Delete one" in refused.json()["detail"]
        assert Source.objects.count() == 10

    def test_the_positions_say_how_far_each_partition_is(self, api: Api, source: Source) -> None:
        SourcePosition.objects.create(source=source, partition="scores/0", next_offset=4, end_offset=9)
        SourcePosition.objects.create(source=source, partition="scores/1", next_offset=4, end_offset=5)

        assert [one["end_offset"] for one in api.get("/sources/scores/positions").json()["items"]] == [9, 5]
        assert api.get("/sources/scores").json()["lag_messages"] == 6


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"name": "a/b"}, "/name"),
            ({"name": ""}, "/name"),
            ({"what": "metrics"}, "/what"),
            ({"settings": SETTINGS | {"kind": "pigeon"}}, "/settings"),
            ({"settings": SETTINGS | {"brokers": []}}, "/settings/brokers"),
            ({"settings": SETTINGS | {"brokers": ["http://203.0.113.7"]}}, "/settings/brokers/0"),
            (
                {"settings": SETTINGS | {"brokers": ["203.0.113.7:9093", "10.0.0.1:9093"]}},
                "/settings/brokers/1",
            ),
            ({"settings": SETTINGS | {"brokers": ["169.254.169.254:9093"]}}, "/settings/brokers/0"),
            ({"settings": SETTINGS | {"brokers": ["203.0.113.7:22"]}}, "/settings/brokers/0"),
            ({"settings": SETTINGS | {"brokers": ["203.0.113.7:6379"]}}, "/settings/brokers/0"),
            ({"settings": SETTINGS | {"security": "sasl_plaintext"}}, "/settings/brokers/0"),
            ({"settings": SETTINGS | {"topics": ["^.*"]}}, "/settings/topics/0"),
            ({"settings": SETTINGS | {"user": ""}}, "/settings/user"),
            ({"settings": SETTINGS | {"client_certificate": "PEM"}}, "/settings/client_certificate"),
            ({"settings": SETTINGS | {"group": "a b"}}, "/settings/group"),
            ({"settings": SETTINGS | {"plugin.library.paths": "x"}}, "/settings/plugin.library.paths"),
            ({"mapping": {"envelope": "xml"}}, "/mapping/envelope"),
            ({"mapping": {"default_version": "a b"}}, "/mapping/default_version"),
            ({"what": "labels", "mapping": {"envelope": "v2"}}, "/mapping/envelope"),
        ],
    )
    def test_what_could_never_work_is_refused_at_its_field(
        self, api: Api, model: Any, changes: dict[str, Any], pointer: str
    ) -> None:
        answer = api.post("/sources", body(**changes))

        assert fault(answer) == (422, pointer)
        assert not Source.objects.exists()

    def test_a_model_of_another_project_is_not_found(self, api: Api, model: Any) -> None:
        stranger = caller("theirs")

        assert stranger.post("/sources", body()).json()["code"] == "model_not_found"

    def test_another_project_sees_nothing_of_it(self, api: Api, source: Source) -> None:
        stranger, letter = caller("theirs"), add_letter(source, b"{")

        assert stranger.get("/sources").json()["items"] == []
        for method, path in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", "?confirm=scores"),
            ("POST", "/pause"),
            ("GET", "/dead-letters"),
            ("POST", "/dead-letters/retry"),
            ("POST", f"/dead-letters/{letter.pk}/retry"),
        ]:
            answer = stranger.send(method, f"/sources/scores{path}", {} if method == "PATCH" else None)
            assert answer.json()["code"] == "source_not_found"

    @pytest.mark.parametrize(("what", "scope"), [("predictions", "log"), ("labels", "label")])
    def test_who_may_not_log_cannot_have_a_source_log_for_them(
        self, api: Api, model: Any, what: str, scope: str
    ) -> None:
        writer = caller("ours", "write")

        answer = writer.post("/sources", body(what=what))

        assert (answer.status_code, fault(answer)[1]) == (403, "/what")
        assert caller("ours", "write", scope).post("/sources", body(what=what)).status_code == 201


BUCKET = {"kind": "objects", "bucket": "scores", "endpoint": "https://203.0.113.7", "access_key_id": "AK1"}


class TestObjects:
    def test_a_source_of_a_bucket_has_its_kind_and_counts_objects(self, api: Api, model: Any) -> None:
        assert api.post("/sources", body(settings=BUCKET)).status_code == 201
        SourcePosition.objects.create(
            source=Source.objects.get(), partition=ALL_OBJECTS, next_offset=4, end_offset=9
        )

        made = api.get("/sources/scores").json()

        assert (made["kind"], made["lag_objects"], made["lag_messages"]) == ("objects", 5, None)
        assert made["settings"] | BUCKET == made["settings"]

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"bucket": ""}, "/settings/bucket"),
            ({"bucket": "a/b"}, "/settings/bucket"),
            ({"folder": "/data"}, "/settings/bucket"),
            ({"endpoint": "https://10.0.0.1"}, "/settings/endpoint"),
            ({"endpoint": "http://203.0.113.7"}, "/settings/endpoint"),
            ({"endpoint": "https://203.0.113.7/path"}, "/settings/endpoint"),
            ({"endpoint": "https://203.0.113.7:5432"}, "/settings/endpoint"),
            ({"endpoint": "ftp://203.0.113.7"}, "/settings/endpoint"),
            ({"region": "a b"}, "/settings/region"),
            ({"glob": ""}, "/settings/glob"),
            ({"interval_seconds": 1}, "/settings/interval_seconds"),
            ({"format": "xlsx"}, "/settings/format"),
            ({"topics": ["t"]}, "/settings/topics"),
            ({"bucket": "", "folder": "/etc"}, "/settings/folder"),
            ({"bucket": "", "folder": "/etc", "endpoint": "", "access_key_id": ""}, "/settings/folder"),
        ],
    )
    def test_what_could_never_work_is_refused_at_its_field(
        self, api: Api, model: Any, changes: dict[str, Any], pointer: str
    ) -> None:
        answer = api.post("/sources", body(settings=BUCKET | changes))

        assert fault(answer) == (422, pointer)
        assert not Source.objects.exists()

    def test_csv_is_read_by_paths_alone(self, api: Api, model: Any) -> None:
        asked = body(settings=BUCKET | {"format": "csv"}, mapping={"envelope": "log"})

        assert fault(api.post("/sources", asked)) == (422, "/mapping/envelope")

    def test_the_kind_of_a_source_stays(self, api: Api, source: Source) -> None:
        assert fault(api.send("PATCH", "/sources/scores", {"settings": BUCKET})) == (422, "/settings/kind")

    def test_a_secret_is_used_for_its_own_store_and_key_alone(self, api: Api, model: Any) -> None:
        api.post("/sources", body(settings=BUCKET))

        api.send("PATCH", "/sources/scores", {"settings": BUCKET | {"prefix": "others/"}})
        assert Source.objects.get().secret
        api.send("PATCH", "/sources/scores", {"settings": BUCKET | {"endpoint": "https://203.0.113.8"}})
        assert not Source.objects.get().secret

    def test_the_bucket_of_a_source_stays(self, api: Api, model: Any) -> None:
        api.post("/sources", body(settings=BUCKET))

        moved = api.send("PATCH", "/sources/scores", {"settings": BUCKET | {"bucket": "others"}})

        assert fault(moved) == (422, "/settings/bucket")

    @pytest.mark.slow
    def test_ten_rows_of_the_newest_object_are_shown(
        self, api: Api, model: Any, settings: Any, tmp_path: Path
    ) -> None:
        settings.OUTBOUND_ALLOW, settings.HOME = ["127.0.0.1/32"], tmp_path
        asked = {"model": "flights", "what": "predictions", "mapping": {"default_version": "7"}}
        with bucket_server() as bucket:
            where = {"kind": "objects", "bucket": "scores", "endpoint": bucket.address}
            empty = api.post("/sources/preview", asked | {"settings": where})
            bucket.objects["a.csv"] = b"id,prediction,income\n" + b"007,1,41.5\n" * 9 + b"b,1\n" * 9
            answer = api.post("/sources/preview", asked | {"settings": where})
            bucket.objects = {"a.parquet": b"PAR1"}
            broken = api.post("/sources/preview", asked | {"settings": where})

        assert empty.json() == {"messages": []}
        rows = answer.json()["messages"]
        assert len(rows) == 10
        assert (rows[0]["partition"], rows[0]["offset"]) == ("a.csv", 0)
        assert rows[0]["item"]["features"] == {"income": 41.5}
        assert rows[0]["item"]["id"] == "007"
        assert (rows[9]["item"], rows[9]["code"]) == (None, "malformed_row")
        assert [one["code"] for one in broken.json()["messages"]] == ["broken_object"]
        assert not PredictionRow.objects.exists()


TABLE = {
    "kind": "sql",
    "host": "203.0.113.7",
    "database": "shop",
    "user": "reader",
    "table": "scores",
    "watermark": "updated_at",
    "keys": ["id"],
}


class TestTables:
    def test_a_source_of_a_table_is_made_and_keeps_its_password_to_itself(self, api: Api, model: Any) -> None:
        answer = api.post("/sources", body(settings=TABLE))

        assert answer.status_code == 201
        assert (answer.json()["kind"], answer.json()["settings"]["lag_seconds"]) == ("sql", 60)
        assert "pw" not in answer.content.decode()

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"host": "10.0.0.1"}, "/settings/host"),
            ({"host": "203.0.113.7", "tls": "none"}, "/settings/host"),
            ({"engine": "oracle"}, "/settings/engine"),
            ({"keys": []}, "/settings/keys"),
            ({"watermark": ""}, "/settings/watermark"),
            ({"query": "SELECT 1"}, "/settings/query"),
            ({"port": 70_000}, "/settings/port"),
        ],
    )
    def test_what_could_never_work_is_refused_at_its_field(
        self, api: Api, model: Any, changes: dict[str, Any], pointer: str
    ) -> None:
        assert fault(api.post("/sources", body(settings=TABLE | changes))) == (422, pointer)

    @pytest.mark.parametrize("changed", [{"host": "203.0.113.8"}, {"user": "eve"}, {"port": 6_000 - 1}])
    def test_a_password_is_never_sent_elsewhere(self, api: Api, model: Any, changed: dict[str, Any]) -> None:
        api.post("/sources", body(settings=TABLE))

        api.send("PATCH", "/sources/scores", {"settings": TABLE | {"table": "others"}})
        assert Source.objects.get().secret
        api.send("PATCH", "/sources/scores", {"settings": TABLE | changed})
        assert not Source.objects.get().secret


class TestDeadLetters:
    def test_what_they_hold_is_shown_to_who_may_change_sources(self, api: Api, source: Source) -> None:
        add_letter(source, b'{"name": "Ada"}\x00')

        [letter] = api.get("/sources/scores/dead-letters").json()["items"]
        [hidden] = caller("ours", "read").get("/sources/scores/dead-letters").json()["items"]

        assert (letter["text"], letter["code"], letter["pointer"]) == (
            '{"name": "Ada"}�',
            "missing_field",
            "/id",
        )
        assert hidden["text"] is None

    def test_of_a_key_that_is_lost_are_listed_and_discarded_and_wait_for_it(
        self, api: Api, source: Source, settings: Any
    ) -> None:
        add_letter(source, b"{}")
        settings.SECRET_KEY = "another key of this installation, long enough for it"

        [listed] = api.get("/sources/scores/dead-letters").json()["items"]
        retried = api.post("/sources/scores/dead-letters/retry")
        preview = {name: body()[name] for name in ("model", "what", "settings")} | {"source": "scores"}
        shown = api.post("/sources/preview", preview)
        discarded = api.send("DELETE", "/sources/scores/dead-letters?confirm=scores")

        assert (listed["code"], listed["text"]) == ("missing_field", None)
        assert retried.json() == {"stored": 0, "refused": 1, "reread": 0}
        assert (shown.status_code, shown.json()["code"]) == (503, "secret_unreadable")
        assert "DRIFTLINE_SECRET_KEY_FALLBACKS" in shown.json()["detail"]
        assert discarded.json() == {"discarded": 1}

    def test_all_are_retried_with_the_mapping_of_now(self, api: Api, source: Source) -> None:
        add_letter(source, b'{"key": "a", "score": 0.5, "prediction": 1, "model_version": "2"}')
        add_letter(source, b"{", offset=1)
        api.send("PATCH", "/sources/scores", {"mapping": {"id": "key"}})

        assert api.post("/sources/scores/dead-letters/retry").json() == {
            "stored": 1,
            "refused": 1,
            "reread": 0,
        }
        assert PredictionRow.objects.get().prediction_id == "a"
        [left] = api.get("/sources/scores/dead-letters").json()["items"]
        assert (left["offset"], left["code"], left["attempts"]) == (1, "malformed_json", 2)

    def test_one_is_retried_or_discarded(self, api: Api, source: Source) -> None:
        good = add_letter(source, b'{"id": "a", "prediction": 1, "version": "1"}')
        bad = add_letter(source, b"{", offset=1)

        assert api.post(f"/sources/scores/dead-letters/{good.pk}/retry").json() == {
            "stored": 1,
            "refused": 0,
            "reread": 0,
        }
        assert api.send("DELETE", f"/sources/scores/dead-letters/{bad.pk}").status_code == 204
        assert api.get("/sources/scores/dead-letters").json()["items"] == []
        assert (
            api.post(f"/sources/scores/dead-letters/{bad.pk}/retry").json()["code"] == "dead_letter_not_found"
        )

    def test_all_are_discarded_once_the_name_confirms_it(self, api: Api, source: Source) -> None:
        add_letter(source, b"{")

        assert api.send("DELETE", "/sources/scores/dead-letters").status_code == 409
        assert api.send("DELETE", "/sources/scores/dead-letters?confirm=scores").json() == {"discarded": 1}
        assert AuditEntry.objects.get(action="source.discard").after == {"discarded": 1}


class TestPreview:
    def test_real_messages_are_shown_with_what_they_become(
        self, api: Api, model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        messages = [
            StreamMessage(
                partition="scores/0",
                offset=3,
                value=b'{"key": "a", "prediction": 1}',
                time_us=1_700_000_000_000_000,
            ),
            StreamMessage(
                partition="scores/0", offset=4, value=b'{"key": "b"}', time_us=1_700_000_000_000_000
            ),
        ]
        monkeypatch.setattr(preview, "sample", lambda *_, **__: messages)

        asked = {"model": "flights", "what": "predictions", "settings": SETTINGS, "secret": "pw"}
        answer = api.post("/sources/preview", asked | {"mapping": {"id": "key", "default_version": "7"}})

        good, bad = answer.json()["messages"]
        assert good["item"] == {
            "id": "a",
            "timestamp": "2023-11-14T22:13:20Z",
            "version": "7",
            "prediction": 1,
            "features": {},
        }
        assert (bad["item"], bad["code"], bad["pointer"]) == (None, "missing_field", "/prediction")
        assert not PredictionRow.objects.exists()

    def test_a_broker_that_does_not_answer_is_named(
        self, api: Api, model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: Any, **__: Any) -> None:
            raise ConnectorFailed("All brokers are down.")

        monkeypatch.setattr(preview, "sample", away)

        answer = api.post(
            "/sources/preview", {"model": "flights", "what": "predictions", "settings": SETTINGS}
        )

        assert (answer.status_code, answer.json()["code"]) == (502, "source_unreachable")

    @pytest.mark.parametrize(
        ("asked", "sent"), [(SETTINGS, "pw"), (SETTINGS | {"brokers": ["203.0.113.8:9093"]}, "")]
    )
    def test_the_stored_secret_goes_to_its_own_brokers_alone(
        self, api: Api, source: Source, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], sent: str
    ) -> None:
        secrets: list[str] = []
        monkeypatch.setattr(preview, "sample", lambda _, secret, **__: secrets.append(secret) or [])

        api.post(
            "/sources/preview",
            {"model": "flights", "what": "predictions", "settings": asked, "source": "scores"},
        )

        assert secrets == [sent]
