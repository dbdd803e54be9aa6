"""What becomes of dead letters and secrets with time: erasures, a new secret key, expiry."""

from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import msgspec
import orjson
import pytest
from django.core.management import call_command

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import decrypt
from driftline.tasks import tidy
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import request_erasure, resume_erasure
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.dead_letters import message_of
from inference.prediction_log.sources.models import DeadLetter, Source, SourceConsumer
from inference.prediction_log.sources.reading.adapters import registry_secret_of, secret_of, settings_of
from inference.prediction_log.sources.reading.messages import Fault
from inference.prediction_log.sources.reading.positions import begin_partition
from inference.prediction_log.sources.reading.storing import store_batch
from inference.prediction_log.sources.services import update_source
from inference.registry.models import Model
from tests.inference.prediction_log.sources.conftest import MakeSource
from tests.inference.prediction_log.sources.streams import MemoryStream, prediction


def store(source: Source, stream: MemoryStream, *values: Any) -> None:
    begin_partition(source.pk, "t/0", 0)
    store_batch(source, [stream.send(value) for value in values], now=now())


@pytest.mark.slow
def test_an_erasure_deletes_the_letters_that_name_the_subject_or_its_rows(
    model: Model, make_source: MakeSource, stream: MemoryStream
) -> None:
    source = make_source()
    about_her = b'{"subject": "ada-lovelace"'
    label = orjson.dumps({"id": "row-1"})
    undecoded = b"\0\0\0\0\7\x0arow-1\2"  # in the wire format of a schema registry
    store(source, stream, prediction("row-1", subject="ada-lovelace"), about_her, label, undecoded, b"{")
    plain = stream.send(b"\7\x0arow-1\2")  # of a stream with a registry, and without the wire format
    fault = Fault("not_wire_format", "The message does not begin with a zero byte.")
    store_batch(source, [msgspec.structs.replace(plain, fault=fault)], now=now())

    erasure = request_erasure(project=model.project, key="ada-lovelace", actor="test")
    Erasure.objects.update(requested_at=now() - timedelta(minutes=1))  # so that no shadow is waited for
    resume_erasure(erasure.pk)

    assert [message_of(letter).value for letter in DeadLetter.objects.all()] == [b"{"]
    assert not PredictionRow.objects.exists()


def test_secrets_and_letters_are_readable_after_a_change_of_the_secret_key(
    make_source: MakeSource, stream: MemoryStream, settings: Any
) -> None:
    source = make_source()
    settings_with_registry = settings_of(source).model_copy(update={"registry_url": "http://127.0.0.1:8081"})
    update_source(
        source=source,
        actor="ada",
        settings=settings_with_registry,
        secret="hunter22",
        registry_secret="r-token",
    )
    store(source, stream, b"{")
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = (
        [settings.SECRET_KEY],
        "another secret key, long enough",
    )

    settings.SECRET_KEY_FILE = None

    call_command("rotate_key", "secret_key", stdout=StringIO())

    settings.SECRET_KEY_FALLBACKS = []
    source.refresh_from_db()
    assert secret_of(source) == "hunter22"
    assert registry_secret_of(source) == "r-token"
    assert decrypt(DeadLetter.objects.get().payload)


@pytest.mark.parametrize(("minutes", "left"), [(9, 1), (11, 0)])
def test_the_row_of_a_consumer_that_was_killed_goes_though_no_other_lives(
    make_source: MakeSource, minutes: int, left: int
) -> None:
    seen_at = now() - timedelta(minutes=minutes)
    SourceConsumer.objects.create(id=uuid4(), source=make_source(), host="h 1", seen_at=seen_at)

    tidy()

    assert SourceConsumer.objects.count() == left


@pytest.mark.parametrize(("days", "left"), [(29, 1), (31, 0)])
def test_letters_expire_after_thirty_days(
    make_source: MakeSource, stream: MemoryStream, days: int, left: int
) -> None:
    store(make_source(), stream, b"{")
    DeadLetter.objects.update(received_at=now() - timedelta(days=days))

    tidy()

    assert DeadLetter.objects.count() == left
