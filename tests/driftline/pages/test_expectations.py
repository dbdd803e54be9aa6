"""The page of what is expected of a feature."""

import pytest
from django.test import Client

from inference.registry.models import Model
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work


@pytest.fixture
def watched(model: Model) -> Model:
    give_reference(model)
    log(model, rows_of_a_day(DAY, 100))
    work(model)
    return model


def test_a_range_is_said_shown_on_the_features_page_and_forgotten(client: Client, watched: Model) -> None:
    path = f"/models/{watched.name}/expected/income"
    assert "The reference: -" in markup(client.get(path))

    shown = markup(client.post(path, {"least": "-1", "most": "250", "missing_share": "5"}, follow=True))
    assert "at least -1, at most 250, missing in at most 5.0% of rows" in shown

    shown = markup(client.post(path, {"least": "-1", "forget": "1"}, follow=True))
    assert "Expected: what the reference shows" in shown


def test_values_are_said_a_line_each(client: Client, watched: Model) -> None:
    path = f"/models/{watched.name}/expected/region"

    client.post(path, {"categories": "north\r\n south \r\n\r\nnorth"})

    assert watched.expectations.get().categories == ["north", "south"]
    assert "north\nsouth" in client.get(path).content.decode()


def test_a_fault_is_told_at_its_field_and_nothing_is_kept(client: Client, watched: Model) -> None:
    answer = client.post(f"/models/{watched.name}/expected/income", {"least": "3", "most": "2"})

    assert answer.status_code == 422
    assert "lies below the least, 3" in markup(answer)
    assert not watched.expectations.exists()
