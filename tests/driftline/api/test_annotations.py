"""Annotations over HTTP: notes on a model's axis of event time, with an audit row for each change."""

from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from inference.registry.models import Model
from monitors.annotations.models import LINK_LENGTH, TEXT_LENGTH, Annotation
from monitors.annotations.services import change_annotation
from tests.driftline.api.conftest import Api

PATH = "/models/flights/annotations"
NOTE = {"start": "2026-01-05T12:00:00Z", "text": "new price list", "link": "https://wiki.example/prices"}


def note(api: Api, **changes: Any) -> Any:
    answer = api.post(PATH, NOTE | changes)
    assert answer.status_code == 201
    return answer.json()


@pytest.mark.usefixtures("flights")
class TestCreate:
    def test_keeps_the_moment_the_text_the_link_and_who_made_it(self, api: Api) -> None:
        made = note(api)

        assert (made["start"], made["end"]) == ("2026-01-05T12:00:00Z", None)
        assert (made["text"], made["link"]) == ("new price list", "https://wiki.example/prices")
        assert made["created_by"] == Annotation.objects.get().created_by != ""
        entry = AuditEntry.objects.get(action="annotation.create")
        assert (entry.subject, entry.after["text"]) == (f"flights/{made['id']}", "new price list")

    def test_keeps_an_interval(self, api: Api) -> None:
        assert note(api, end="2026-01-06T00:00:00Z")["end"] == "2026-01-06T00:00:00Z"

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"text": " "}, "/text"),
            ({"text": "x" * (TEXT_LENGTH + 1)}, "/text"),
            ({"end": NOTE["start"]}, "/end"),
            ({"start": "yesterday"}, "/start"),
            ({"link": "javascript:alert(1)"}, "/link"),
            ({"link": "ftp://files.example/a"}, "/link"),
            ({"link": "https://"}, "/link"),
            ({"link": "https://[broken"}, "/link"),
            ({"link": "https://a.example/ b"}, "/link"),
            ({"link": "https://a.example/" + "x" * LINK_LENGTH}, "/link"),
            ({"colour": "red"}, "/colour"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_refuses_what_no_chart_could_show(self, api: Api, changes: Any, pointer: str) -> None:
        answer = api.post(PATH, NOTE | changes)

        assert answer.status_code == 422
        assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
        assert not Annotation.objects.exists()

    def test_refuses_more_than_a_model_may_have(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("monitors.annotations.services.MAX_ANNOTATIONS", 1)
        note(api)

        answer = api.post(PATH, NOTE)

        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_annotations")


class TestList:
    def test_gives_those_that_touch_a_period_the_newest_first(self, api: Api, flights: Model) -> None:
        for text, start, end in (
            ("before", "2026-01-01T00:00:00Z", None),
            ("into it", "2026-01-02T00:00:00Z", "2026-01-06T00:00:00Z"),
            ("within", "2026-01-07T00:00:00Z", None),
            ("after", "2026-01-10T00:00:00Z", None),
        ):
            note(api, text=text, start=start, end=end)

        within = api.get(f"{PATH}?from=2026-01-05T00:00:00Z&to=2026-01-10T00:00:00Z").json()["items"]
        everything = api.get(PATH).json()["items"]

        assert [one["text"] for one in within] == ["within", "into it"]
        assert [one["text"] for one in everything] == ["after", "within", "into it", "before"]


class TestChange:
    def test_changes_what_is_sent_alone(self, api: Api, flights: Model) -> None:
        made = note(api, end="2026-01-06T00:00:00Z")

        answer = api.send("PATCH", f"{PATH}/{made['id']}", {"text": "newer price list", "end": None})

        assert answer.json() == made | {"text": "newer price list", "end": None}
        entry = AuditEntry.objects.get(action="annotation.update")
        assert (entry.before["text"], entry.after["text"]) == ("new price list", "newer price list")

    def test_refuses_an_end_that_would_lie_before_the_start_that_stays(
        self, api: Api, flights: Model
    ) -> None:
        made = note(api)

        answer = api.send("PATCH", f"{PATH}/{made['id']}", {"end": "2026-01-01T00:00:00Z"})

        assert answer.status_code == 422
        assert api.get(PATH).json()["items"] == [made]

    def test_refuses_to_lose_its_start(self, api: Api, flights: Model) -> None:
        answer = api.send("PATCH", f"{PATH}/{note(api)['id']}", {"start": None})

        assert answer.status_code == 422


class TestDelete:
    def test_takes_it_off_and_says_so_in_the_audit(self, api: Api, flights: Model) -> None:
        made = note(api)

        answer = api.send("DELETE", f"{PATH}/{made['id']}")

        assert answer.status_code == 204
        assert api.get(PATH).json()["items"] == []
        assert AuditEntry.objects.get(action="annotation.delete").before["text"] == "new price list"

    def test_another_project_finds_nothing(self, api: Api, stranger: Api, flights: Model) -> None:
        made = note(api)

        answers = [
            stranger.send("DELETE", f"{PATH}/{made['id']}"),
            stranger.send("PATCH", f"{PATH}/{made['id']}", {"text": "mine"}),
            stranger.get(PATH),
        ]

        assert [answer.status_code for answer in answers] == [404, 404, 404]
        assert Annotation.objects.get().text == "new price list"

    def test_another_models_annotation_is_not_found(self, api: Api, flights: Model) -> None:
        made = note(api)
        api.post("/models", {"name": "other", "task": "binary"})

        answer = api.send("DELETE", f"/models/other/annotations/{made['id']}")

        assert answer.status_code == 404


@pytest.mark.usefixtures("flights")
def test_two_people_change_one_and_nothing_of_either_is_lost(api: Api) -> None:
    note(api)
    seen_by_ada, seen_by_bob = Annotation.objects.get(), Annotation.objects.get()

    change_annotation(annotation=seen_by_ada, changes={"text": "other prices"}, actor="ada")
    change_annotation(annotation=seen_by_bob, changes={"link": ""}, actor="bob")

    assert (Annotation.objects.get().text, Annotation.objects.get().link) == ("other prices", "")
