"""The pages of sources: what is read and how far, the form with its preview, and dead letters."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.test import Client

from driftline.base.keys.secrets_at_rest import decrypt, encrypt
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.dead_letters import RefusedMessage, bury
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source, SourceConsumer, SourcePosition
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.reading import preview
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import ALL_OBJECTS
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from inference.registry.services import archive_model
from tests.driftline.web.pages.visitors import viewer_of
from tests.inference.prediction_log.sources.google_server import GoogleServer
from tests.inference.prediction_log.sources.objects.bucket_server import BucketServer, bucket_server
from tests.markup import markup
from tests.worlds.every_kind import make_source

SENT = {
    "do": "create",
    "name": "scores",
    "what": "predictions",
    "brokers": "127.0.0.1:9093, 127.0.0.1:9094",
    "topics": "a b",
    "start": "earliest",
    "security": "sasl_plaintext",
    "mechanism": "PLAIN",
    "user": "ada",
    "secret": "hunter22",
    "envelope": "json",
    "id": "key",
    "tags": "region customer.region\nkind k",
}
PATH = "/settings/sources"


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32", "203.0.113.0/24"]


@pytest.fixture
def form(model: Model) -> dict[str, str]:
    return SENT | {"model": model.name}


@pytest.fixture
def source(model: Model) -> Source:
    """A source with one dead letter."""
    return make_source(model, "scores").source


@pytest.mark.slow
def test_an_empty_list_says_what_a_source_is_for(client: Client, model: Model) -> None:
    page = markup(client.get(PATH))

    assert "No source yet." in page
    assert "Add a source…" in page


def test_the_form_makes_a_source_and_keeps_its_secret_to_itself(client: Client, form: dict[str, str]) -> None:
    page = markup(client.post(f"{PATH}/new", form, follow=True))

    made = Source.objects.get()
    assert "scores is added, and read within seconds." in page
    assert "hunter22" not in page
    assert decrypt(made.secret) == "hunter22"
    assert made.settings["brokers"] == ["127.0.0.1:9093", "127.0.0.1:9094"]
    assert made.settings["topics"] == ["a", "b"]
    assert made.mapping["tags"] == {"region": "customer.region", "kind": "k"}


def test_the_form_keeps_the_secret_of_a_schema_registry_to_itself(
    client: Client, form: dict[str, str]
) -> None:
    registry = {"registry_url": "https://203.0.113.9", "registry_user": "eve", "registry_secret": "r-pw-77"}

    page = markup(client.post(f"{PATH}/new", form | registry, follow=True))

    made = Source.objects.get()
    assert "r-pw-77" not in page
    assert "https://203.0.113.9" in page
    assert page.count("••••••••") == 2
    assert decrypt(made.registry_secret) == "r-pw-77"
    client.post(f"{PATH}/{made.pk}", form | registry | {"do": "save", "registry_secret": ""})
    made.refresh_from_db()
    assert made.registry_secret


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"registry_url": "registry"}, "is not a web address"),
        ({"registry_user": "eve"}, "needs registry_url"),
        ({"registry_secret": "pw"}, "needs registry_url"),
        ({"brokers": "http://kafka"}, "is no broker; use host:port"),
        ({"brokers": "10.0.0.1:9093"}, "10.0.0.1 must not be reached"),
        ({"topics": "a*"}, "String should match pattern"),
        ({"user": ""}, "which need one"),
        ({"tags": "one two three"}, "is not a tag and its path"),
        ({"name": "a/b"}, "is no name"),
        ({"default_version": "a b"}, "A version has 1 to 64 letters"),
        ({"what": "labels", "envelope": "v2"}, "v2 holds predictions"),
    ],
)
def test_what_could_never_work_is_said_at_its_field(
    client: Client, form: dict[str, str], changes: dict[str, str], said: str
) -> None:
    refused = client.post(f"{PATH}/new", form | changes)

    assert refused.status_code == 422
    assert said in markup(refused)
    assert not Source.objects.exists()


def test_one_source_too_many_is_said_above_the_form(
    client: Client, model: Model, form: dict[str, str]
) -> None:
    for number in range(10):
        make_source(model, f"s{number}")

    assert "This project has 10 sources, as many as it may." in markup(client.post(f"{PATH}/new", form))
    assert Source.objects.count() == 10


def test_the_preview_shows_real_messages_and_what_each_becomes(
    client: Client, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        StreamMessage(
            partition="a/0", offset=7, value=b'{"key": "first", "prediction": 1, "version": "2"}', time_us=1
        ),
        StreamMessage(partition="a/0", offset=8, value=b"<script>poison</script>", time_us=1),
    ]
    monkeypatch.setattr(preview, "sample", lambda *_, **__: found)

    page = client.post(f"{PATH}/new", form | {"do": "preview"}).content.decode()

    assert "a/0, offset 7" in page
    assert "The message is not JSON" in page
    assert "<script>poison" not in page
    assert [kind.objects.count() for kind in (Source, PredictionRow)] == [0, 0]


def test_the_kind_of_a_new_source_is_chosen_first(client: Client, model: Model) -> None:
    kinds = client.get(f"{PATH}/new").content.decode()

    for kind, field in (
        ("kafka", "brokers"),
        ("nats", "stream"),
        ("mqtt", "topics"),
        ("objects", "bucket"),
        ("sql", "watermark"),
    ):
        assert f"{PATH}/new?kind={kind}" in kinds
        form = client.get(f"{PATH}/new?kind={kind}").content.decode()
        assert f'name="{field}"' in form
        assert f'name="kind" value="{kind}"' in form


class TestMqtt:
    FORM: ClassVar = {
        "kind": "mqtt",
        "do": "create",
        "name": "ovens",
        "what": "predictions",
        "server": "127.0.0.1:8883",
        "topics": "plant/+/scores, other/#",
        "tls": "verify",
        "envelope": "json",
        "secret": "hunter22",
    }

    def test_the_form_makes_a_source_and_shows_its_topics(self, client: Client, model: Model) -> None:
        client.post(f"{PATH}/new", self.FORM | {"model": model.name})

        made = Source.objects.get()
        page = markup(client.get(f"{PATH}/{made.pk}"))
        assert made.settings["topics"] == ["plant/+/scores", "other/#"]
        assert 'value="plant/+/scores, other/#"' in page
        assert "hunter22" not in page

    def test_a_position_is_no_id_of_what_may_come_again(self, client: Client, model: Model) -> None:
        refused = client.post(f"{PATH}/new", self.FORM | {"model": model.name, "id": "$position"})

        assert "A message of MQTT that comes again has another position" in markup(refused)
        assert not Source.objects.exists()


class TestObjects:
    FORM: ClassVar = {
        "kind": "objects",
        "do": "create",
        "name": "files",
        "what": "predictions",
        "service": "s3",
        "region": "eu-central-1",
        "glob": "*.csv",
        "format": "auto",
        "delimiter": ",",
        "interval_seconds": "60",
        "envelope": "json",
        "default_version": "7",
    }

    @pytest.fixture
    def bucket(self, settings: Any, tmp_path: Path) -> Iterator[BucketServer]:
        settings.HOME = tmp_path
        with bucket_server() as server:
            yield server

    @pytest.fixture
    def form(self, model: Model, bucket: BucketServer) -> dict[str, str]:
        return self.FORM | {"model": model.name, "bucket": "scores", "endpoint": bucket.address}

    @pytest.mark.slow
    def test_the_form_shows_rows_of_the_newest_object_and_makes_the_source(
        self, client: Client, bucket: BucketServer, form: dict[str, str]
    ) -> None:
        bucket.objects["2026/a.csv"] = b"id,prediction,income\nr1,1,41.5\n<b>,1\n"

        page = client.post(f"{PATH}/new", form | {"do": "preview"}).content.decode()
        client.post(
            f"{PATH}/new", form | {"reread_changed": "on", "access_key_id": "AK1", "secret": "s3cret"}
        )

        assert "2026/a.csv, offset 0" in page
        assert "The row has 2 cells, and the header 3." in page
        assert "<b>" not in page.split('id="preview"')[1].split("</section>")[0]
        made = Source.objects.get()
        assert (made.kind, made.settings["reread_changed"], made.settings["region"]) == (
            "objects",
            True,
            "eu-central-1",
        )
        assert decrypt(made.secret) == "s3cret"

    @pytest.mark.slow
    def test_the_key_of_a_service_account_opens_a_bucket_of_google(
        self, client: Client, settings: Any, tmp_path: Path, form: dict[str, str]
    ) -> None:
        settings.HOME = tmp_path
        with GoogleServer() as google:
            google.objects["a.csv"] = b"id,prediction,income\nr1,1,41.5\n"
            form |= {"service": "gcs", "endpoint": google.url, "secret": google.key()}

            page = client.post(f"{PATH}/new", form | {"do": "preview"}).content.decode()
            client.post(f"{PATH}/new", form)

        assert "a.csv, offset 0" in page
        made = Source.objects.get()
        assert made.settings["service"] == "gcs"
        assert decrypt(made.secret) == form["secret"]

    @pytest.mark.slow
    def test_the_page_says_how_many_objects_are_to_be_read(
        self, client: Client, form: dict[str, str]
    ) -> None:
        client.post(f"{PATH}/new", form)
        made = Source.objects.get()
        SourcePosition.objects.create(source=made, partition=ALL_OBJECTS, next_offset=2, end_offset=1_002)

        page = markup(client.get(f"{PATH}/{made.pk}"))

        assert "lag 1,000 objects" in " ".join(page.split())
        assert "1,000 objects" in markup(client.get(PATH))
        assert 'value="*.csv"' in client.get(f"{PATH}/{made.pk}").content.decode()

    @pytest.mark.slow
    def test_a_change_is_saved_and_a_folder_that_is_not_allowed_is_said(
        self, client: Client, form: dict[str, str]
    ) -> None:
        client.post(f"{PATH}/new", form)
        path = f"{PATH}/{Source.objects.get().pk}"

        client.post(path, form | {"do": "save", "interval_seconds": "300"})
        refused = client.post(path, form | {"do": "save", "bucket": "", "endpoint": "", "folder": "/etc"})

        assert Source.objects.get().settings["interval_seconds"] == 300
        assert refused.status_code == 422
        assert "The operator allows no such folder" in markup(refused)


class TestTables:
    FORM: ClassVar = {
        "kind": "sql",
        "do": "create",
        "name": "table",
        "what": "predictions",
        "engine": "postgresql",
        "host": "203.0.113.7",
        "port": "0",
        "database": "shop",
        "user": "reader",
        "secret": "hunter22",
        "tls": "verify",
        "table": "scores",
        "columns": "id, score\nupdated at",
        "watermark": "updated at",
        "keys": "id, part",
        "lag_seconds": "60",
        "interval_seconds": "10",
        "max_gib_billed": "10",
        "envelope": "json",
        "default_version": "7",
    }

    def test_the_form_makes_a_source_and_changes_it(self, client: Client, model: Model) -> None:
        client.post(f"{PATH}/new", self.FORM | {"model": model.name})
        made = Source.objects.get()
        client.post(f"{PATH}/{made.pk}", self.FORM | {"do": "save", "secret": "", "keys": "id"})

        page = client.get(f"{PATH}/{made.pk}").content.decode()

        assert made.settings["columns"] == ["id", "score", "updated at"]
        assert made.settings["keys"] == ["id", "part"]
        made.refresh_from_db()
        assert made.settings["keys"] == ["id"]
        assert decrypt(made.secret) == "hunter22"
        assert "hunter22" not in page
        assert 'value="updated at"' in page

    def test_a_warehouse_is_named_with_snowflake_alone(self, client: Client, model: Model) -> None:
        form = self.FORM | {"model": model.name, "schema_name": "PUBLIC", "warehouse": "READERS"}
        snowflake = form | {"engine": "snowflake", "interval_seconds": "60"}

        refused = [
            client.post(f"{PATH}/new", form),
            client.post(f"{PATH}/new", snowflake | {"warehouse": ""}),
        ]
        client.post(f"{PATH}/new", snowflake)

        assert [answer.status_code for answer in refused] == [422, 422]
        assert "belongs to Snowflake" in markup(refused[0])
        assert "Name the warehouse" in markup(refused[1])
        assert Source.objects.get().settings["warehouse"] == "READERS"

    def test_a_host_that_must_not_be_called_is_said_at_its_field(self, client: Client, model: Model) -> None:
        refused = client.post(f"{PATH}/new", self.FORM | {"model": model.name, "host": "10.0.0.1"})

        assert refused.status_code == 422
        assert "10.0.0.1 must not be reached" in markup(refused)


def test_a_broker_that_is_away_is_said_above_the_form(
    client: Client, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectorFailed("Local: Broker transport failure")

    monkeypatch.setattr(preview, "sample", away)

    assert "Broker transport failure" in markup(client.post(f"{PATH}/new", form | {"do": "preview"}))


def test_the_list_says_how_each_is_read(client: Client, source: Source) -> None:
    SourceConsumer.objects.create(
        id="0197a5a4-0000-7000-8000-000000000000", source=source, host="h 1", state="waiting",
        error="All brokers are down.", rows_per_second=12.5,
    )  # fmt: skip
    Source.objects.update(notice="9 messages of t/0 were deleted before they were read.")

    page = markup(client.get(PATH))

    assert "All brokers are down." in page
    assert 'class="badge warning"' in page
    assert "9 messages of t/0 were deleted" in page
    assert f"{PATH}/{source.pk}/dead-letters" in client.get(PATH).content.decode()


def test_a_change_keeps_the_secret_and_what_the_form_does_not_show(client: Client, source: Source) -> None:
    source.secret = encrypt("kept")
    source.mapping = SourceMapping(feature_paths={"age": "x.age"}).model_dump()
    source.save()
    same = {
        "do": "save",
        "brokers": "203.0.113.1:9093",
        "topics": "t",
        "security": "tls",
        "mechanism": "PLAIN",
    }

    client.post(
        f"{PATH}/{source.pk}", same | {"name": "renamed", "start": "latest", "envelope": "json", "user": ""}
    )

    changed = Source.objects.get()
    assert (changed.name, changed.settings["start"]) == ("renamed", "latest")
    assert changed.mapping["feature_paths"] == {"age": "x.age"}


def test_a_form_that_is_saved_as_it_stands_keeps_the_secret_of_a_server_with_a_certificate(
    client: Client, model: Model
) -> None:
    settings = NatsSettings(server="127.0.0.1:4333", stream="S", ca_certificate="-----BEGIN-----\nab\n")
    made = create_source(
        project=model.project,
        model=model,
        actor="ada",
        name="s",
        what="labels",
        settings=settings,
        secret="pw",
    )
    form = {"do": "save", "name": "s", "envelope": "json", "start": "earliest", "tls": "verify"}
    shown = {"server": "127.0.0.1:4333", "stream": "S", "ca_certificate": "-----BEGIN-----\r\nab\r\n"}

    client.post(f"{PATH}/{made.pk}", form | shown)
    kept = Source.objects.get()
    page = markup(client.post(f"{PATH}/{made.pk}", form | shown | {"server": "127.0.0.1:4334"}, follow=True))

    assert decrypt(kept.secret) == "pw"
    assert "enter that of this one" in page
    assert not Source.objects.get().secret


def test_dead_letters_of_a_key_that_is_lost_are_shown_with_what_to_do(
    client: Client, source: Source, settings: Any
) -> None:
    path = f"{PATH}/{source.pk}/dead-letters"
    DeadLetter.objects.update(
        payload=_sealed_under(settings, "a key of before, which was long enough for it")
    )

    assert "This message cannot be decrypted" in markup(client.get(path))
    assert "name the old key in DRIFTLINE_SECRET_KEY_FALLBACKS" in markup(
        client.post(path, {"do": "retry"}, follow=True)
    )
    one = {"do": "retry", "letter": str(DeadLetter.objects.get().pk)}
    assert "0 in the log now, 1 refused again." in markup(client.post(path, one, follow=True))
    assert "1 discarded." in markup(client.post(path, {"do": "discard"}, follow=True))


def _sealed_under(settings: Any, key: str) -> bytes:
    now, settings.SECRET_KEY = settings.SECRET_KEY, key
    try:
        return encrypt("{}")
    finally:
        settings.SECRET_KEY = now


def test_the_command_that_reads_a_source_is_one_that_a_shell_takes(client: Client, source: Source) -> None:
    Source.objects.update(name="what's new")

    page = markup(client.get(f"{PATH}/{source.pk}"))

    assert """consume --source 'what'"'"'s new'""" in unescape(page)


def test_a_source_of_an_archived_model_says_why_it_is_not_read(client: Client, source: Source) -> None:
    archive_model(model=source.model, is_archived=True, actor="ada")

    for path in (PATH, f"{PATH}/{source.pk}"):
        assert "is archived; the source is read on once it is restored" in markup(client.get(path))


def test_a_source_is_paused_resumed_and_deleted(client: Client, source: Source) -> None:
    path = f"{PATH}/{source.pk}"

    assert "scores is paused." in markup(client.post(path, {"do": "pause"}, follow=True))
    assert not Source.objects.get().enabled
    assert "scores is read again." in markup(client.post(path, {"do": "resume"}, follow=True))
    assert "1 dead letters are deleted" in markup(client.get(f"{path}/delete"))
    assert "scores is deleted" in markup(client.post(path, {"do": "delete"}, follow=True))
    assert not Source.objects.exists()


class TestDeadLetters:
    @pytest.fixture
    def path(self, source: Source) -> str:
        good = b'{"id": "a", "prediction": 1, "version": "1"}'
        message = StreamMessage(partition="t/0", offset=5, value=good, time_us=1_700_000_000_000_000)
        bury(source.pk, [RefusedMessage(message, "invalid_version", "The version was wrong.", "/version")])
        return f"{PATH}/{source.pk}/dead-letters"

    def test_show_why_each_was_refused(self, client: Client, path: str) -> None:
        page = markup(client.get(path))

        assert "The version was wrong." in page
        assert "/version" in page
        assert "prediction" in page

    def test_are_shown_to_viewers_without_their_content(self, model: Model, path: str) -> None:
        page = markup(viewer_of(model.project).get(path))

        assert "The version was wrong." in page
        assert "prediction&quot;" not in page
        assert "Retry all" not in page

    def test_are_retried_one_by_one(self, client: Client, path: str) -> None:
        letter = DeadLetter.objects.get(offset=5)

        page = markup(client.post(path, {"do": "retry", "letter": str(letter.pk)}, follow=True))

        assert "1 in the log now, 0 refused again." in page
        assert PredictionRow.objects.get().prediction_id == "a"
        assert DeadLetter.objects.count() == 1

    def test_are_discarded_once_somebody_has_said_yes(self, client: Client, path: str) -> None:
        letter = DeadLetter.objects.get(offset=5)

        assert "Discard 2 messages of scores?" in markup(client.get(f"{path}/discard"))
        asked = client.get(f"{path}/discard?letter={letter.pk}").content.decode()

        assert "Discard this message of scores?" in asked
        assert f'name="letter" value="{letter.pk}"' in asked
        assert "1 discarded." in markup(
            client.post(path, {"do": "discard", "letter": str(letter.pk)}, follow=True)
        )

    def test_are_discarded_all(self, client: Client, path: str) -> None:
        assert "2 discarded." in markup(client.post(path, {"do": "discard"}, follow=True))
        assert "every message of this source was stored" in markup(client.get(path))

    def test_of_another_source_are_not_found(self, client: Client, model: Model, path: str) -> None:
        other = make_source(model, "other")

        assert client.post(path, {"do": "discard", "letter": str(other.pk)}).status_code == 404
        assert DeadLetter.objects.filter(pk=other.pk).exists()
