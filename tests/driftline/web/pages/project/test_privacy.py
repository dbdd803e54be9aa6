"""The page Privacy: an admin erases a person after a confirmation, and everybody sees the receipts."""

from datetime import timedelta

import pytest
from django.test import Client
from msgspec.structs import replace

from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.registry.models import Model
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.approvals import DAY, log, rows_of_a_day

PATH = "/settings/privacy"


@pytest.fixture
def viewer(model: Model) -> Client:
    return viewer_of(model.project)


def test_says_what_an_erasure_does_before_there_is_any(client: Client, model: Model) -> None:
    shown = markup(client.get(PATH))

    assert "Nobody has been erased yet" in shown
    assert "It cannot be undone" in shown


def test_asks_for_a_confirmation(client: Client, model: Model) -> None:
    answer = client.post(PATH, {"key": "ada"})

    assert answer.status_code == 422
    assert "what is erased cannot be brought back" in markup(answer)
    assert not Erasure.objects.exists()


@pytest.mark.slow
def test_shows_how_far_it_is_and_what_was_erased_but_never_whom(
    client: Client, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    log(model, [replace(row, subject="ada-lovelace") for row in rows_of_a_day(DAY, 3)])
    begun = markup(client.post(PATH, {"key": "ada-lovelace", "sure": "on"}, follow=True))
    part = markup(client.get(f"{PATH}?part=erasures"))
    services.resume_erasure(Erasure.objects.get().pk)

    shown = markup(client.get(PATH))

    assert "has begun" in begun
    assert 'hx-trigger="every 2s"' in part
    assert "hx-trigger" not in shown.split('id="erasures"')[1].split("</section>")[0]
    assert "3 predictions" in shown
    assert "owner@bank.example" in shown
    assert not [page for page in (begun, part, shown) if "ada-lovelace" in page]
    assert not [entry for entry in AuditEntry.objects.all() if "ada-lovelace" in f"{entry} {entry.after}"]


def test_a_viewer_sees_receipts_and_erases_nobody(viewer: Client, model: Model) -> None:
    services.request_erasure(project=model.project, key="ada", actor="owner")

    shown = markup(viewer.get(PATH))

    assert "by owner" in shown
    assert "Only admins of this project erase people" in shown
    assert viewer.post(PATH, {"key": "bob", "sure": "on"}).status_code == 403
    assert Erasure.objects.count() == 1
