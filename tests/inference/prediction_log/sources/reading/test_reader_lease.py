"""A lease lasts as long as its reader lives, whatever long step the reader is at."""

from datetime import timedelta

import pytest

from driftline.base.clock import now
from inference.prediction_log.sources.models import SourceReader
from inference.prediction_log.sources.reading import reader_lease
from inference.prediction_log.sources.reading.reader_lease import ReaderLease
from tests.inference.prediction_log.sources.conftest import MakeSource
from tests.waiting import wait_until


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_renewed_while_its_reader_is_busy(
    make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_lease, "RENEWED_AFTER_SECONDS", 0.02)
    lease = ReaderLease(make_source().pk)
    assert lease.hold()
    SourceReader.objects.update(until=now() - timedelta(seconds=1))

    wait_until(lambda: SourceReader.objects.filter(until__gt=now()).exists())

    assert not ReaderLease(SourceReader.objects.get().source_id).hold()
    lease.release()
    assert ReaderLease(make_source("other").pk).hold()
