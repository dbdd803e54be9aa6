"""The page of an uploaded file: what was found, rows as they will be stored, and nothing before it is confirmed."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from inference.prediction_log.imports import services
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Dataset, Model
from monitors.definitions.services import build_reference
from monitors.rules.services import create_rule
from tests.markup import markup

pytestmark = pytest.mark.slow

NEWCOMER = "application_id;approved;income;region;date\n" + "\n".join(
    f"A{n:04d};{n % 3 // 2};{900 + n * 7},5;{'north' if n % 2 else 'south'};{n % 28 + 1:02d}.01.2026 10:00"
    for n in range(60)
)


def send(client: Client, model: Model, content: str | bytes, page: str = "import", **fields: str) -> Any:
    content = content.encode() if isinstance(content, str) else content
    file = SimpleUploadedFile("training.csv", content, "text/csv")
    return client.post(reverse(page, args=[model.name]), {"file": file, **fields})


def choices(page: str) -> dict[str, str]:
    """What a browser would send of the page's form."""
    hidden = dict(re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)">', page))
    found = {name: hidden[name] for name in ("names",)}
    for name, options in re.findall(r'<select[^>]*name="([\w-]+)"[^>]*>(.*?)</select>', page, re.DOTALL):
        selected = re.search(r'<option value="([^"]*)"\s+selected', options)
        found[name] = unescape(selected[1]) if selected else ""
    for name, value in re.findall(r'<input type="text" name="(\w+)" value="([^"]*)"', page):
        found[name] = value
    return found


def role_of(page: str, column: str) -> str:
    return re.search(rf'<label for="(role-\d+)">{column}</label>', page)[1]  # type: ignore[index]


@pytest.fixture
def path(client: Client, model: Model) -> str:
    """The preview of a newcomer's file."""
    return str(send(client, model, NEWCOMER)["Location"])


def test_an_upload_leads_to_its_preview_and_stores_nothing(client: Client, model: Model, path: str) -> None:
    page = unescape(markup(client.get(path)))

    assert "Nothing of <strong>training.csv</strong>" in page
    assert "It is unique in every row." in page
    assert "Its times have no zone" in page
    assert "<td>2026-01-01T10:00:00Z</td>" in page
    assert "<td>900.5</td>" in page
    assert not Import.objects.exists()
    assert not Dataset.objects.exists()


def test_a_reference_is_confirmed_and_a_corrected_one_replaces_it(client: Client, model: Model) -> None:
    """A wrong first reference is no dead end: the next one replaces it."""
    wrong = str(send(client, model, NEWCOMER, "reference")["Location"])
    page = markup(client.get(wrong))
    as_feature = choices(page) | {role_of(page, "application_id"): "feature", "do": "confirm"}
    assert client.post(wrong, as_feature)["Location"].endswith(reverse("reference", args=[model.name]))

    mended = str(send(client, model, NEWCOMER, "reference")["Location"])
    page = markup(client.get(mended))
    answer = client.post(
        mended, choices(page) | {role_of(page, "application_id"): "id", "do": "confirm"}, follow=True
    )

    assert "60 rows were stored" in markup(answer)
    [feature, other] = model.versions.get().signature["features"]
    assert (feature["name"], other["name"]) == ("income", "region")
    build_reference(model.references.latest("pk").pk)
    assert model.references.latest("pk").state == "ready"


def test_a_reference_on_which_a_rule_depends_is_replaced_when_that_is_confirmed(
    client: Client, model: Model
) -> None:
    first = str(send(client, model, NEWCOMER, "reference")["Location"])
    client.post(first, choices(markup(client.get(first))) | {"do": "confirm"})
    create_rule(
        project=model.project,
        model=model,
        actor="test",
        name="moved",
        metric="psi",
        feature="income",
        threshold=0.2,
    )
    second = str(send(client, model, "age,approved\n" + "30,1\n41,0\n" * 20, "reference")["Location"])
    sent = choices(markup(client.get(second))) | {"do": "confirm"}

    refused = client.post(second, sent)
    page = unescape(markup(refused))
    assert refused.status_code == 422
    assert "depend: the rule 'moved'" in page
    assert "Replace the reference" in page

    assert client.post(second, sent | {"replace": "on"}).status_code == 302
    assert [one["name"] for one in model.versions.get().signature["features"]] == ["age"]


def test_predictions_are_imported_as_they_were_chosen(client: Client, model: Model, path: str) -> None:
    page = markup(client.get(path))
    chosen = {"kind": "predictions", "time_zone": "Europe/Berlin", role_of(page, "approved"): "prediction"}
    again = unescape(markup(client.post(path, choices(page) | chosen | {"do": "preview"})))
    assert "<td>2026-01-01T09:00:00Z</td>" in again

    answer = client.post(path, choices(again) | {"do": "confirm"}, follow=True)

    assert "training.csv was taken" in markup(answer)
    services.resume_import(Import.objects.get().pk)
    assert PredictionRow.objects.filter(prediction_id="A0007").exists()
    assert not UploadedFile.objects.filter(confirmed_at=None).exists()


def test_a_wrong_delimiter_is_corrected_on_the_page(client: Client, model: Model, path: str) -> None:
    page = markup(client.get(path))

    one_column = unescape(markup(client.post(path, choices(page) | {"delimiter": "|", "do": "preview"})))
    mended = unescape(markup(client.post(path, choices(one_column) | {"delimiter": ";", "do": "preview"})))

    assert "The file has one column" in one_column
    assert "The file has one column" not in mended
    assert "<td>900.5</td>" in mended


def test_what_is_missing_is_said_and_the_file_still_waits(client: Client, model: Model, path: str) -> None:
    refused = client.post(path, choices(markup(client.get(path))) | {"kind": "predictions", "do": "confirm"})

    assert refused.status_code == 422
    assert "No column is the prediction; choose the one" in unescape(markup(refused))
    assert "training.csv" in markup(client.get(reverse("import", args=[model.name])))
    assert not Import.objects.exists()


@pytest.mark.parametrize(("field", "value"), [("time_zone", "Berlin"), ("version", "v" * 65), ("kind", "")])
def test_the_columns_stay_as_they_were_chosen_where_another_field_is_wrong(
    field: str, value: str, client: Client, model: Model, path: str
) -> None:
    page = markup(client.get(path))
    chosen = choices(page) | {role_of(page, "income"): "ignored"}

    refused = client.post(path, chosen | {field: value, "do": "confirm"})

    assert refused.status_code == 422
    assert choices(markup(refused))[role_of(page, "income")] == "ignored"
    assert not Dataset.objects.exists()


def test_a_file_with_unknown_headers_replaces_no_reference_unasked(client: Client, model: Model) -> None:
    first = str(send(client, model, NEWCOMER, "reference")["Location"])
    client.post(first, choices(markup(client.get(first))) | {"do": "confirm"})
    foreign = NEWCOMER.replace("approved", "vorhersage").replace("date", "zeitpunkt")
    path = str(send(client, model, foreign)["Location"])

    answer = client.post(path, choices(markup(client.get(path))) | {"do": "confirm"})

    assert "No column is the prediction; choose the one" in unescape(markup(answer))
    assert Dataset.objects.count() == 1


def test_a_file_is_discarded(client: Client, model: Model, path: str, home: Path) -> None:
    page = client.post(path, {"do": "discard"}, follow=True)

    assert "training.csv was discarded; nothing of it was stored." in markup(page)
    assert not list(home.glob("imports/*"))
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("page", ["import", "reference"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"a,b\n", "The file has columns but no rows"),
        (b"a,b,a\n1,2,3\n", "2 columns are named 'a'; rename them"),
        (b"PK\x03\x04" + b"\0" * 60, "in Excel choose Save as, CSV UTF-8"),
        (b"PAR1" + b"x" * 60, "The file cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained_in_the_form(
    content: bytes, sentence: str, page: str, client: Client, model: Model, home: Path
) -> None:
    refused = send(client, model, content, page)

    assert refused.status_code == 422
    assert sentence in unescape(markup(refused))
    assert not UploadedFile.objects.exists()
    assert not list(home.glob("imports/*"))


def test_three_thousand_columns_are_shown_in_part_and_stored_whole(client: Client, model: Model) -> None:
    names = ";".join(f"c{n}" for n in range(3_000))
    values = "\n".join(";".join(str(n * row % 7) for n in range(3_000)) for row in range(25))
    path = str(send(client, model, f"{names}\n{values}", "reference")["Location"])

    page = markup(client.get(path))
    answer = client.post(path, choices(page) | {"do": "confirm"})

    assert "And 2,600 more columns, which are features." in page
    assert answer.status_code == 302
    assert len(Dataset.objects.get().columns) == 3_000


def test_a_viewer_looks_and_does_not_confirm(client: Client, model: Model, path: str) -> None:
    model.project.memberships.update(role="viewer")

    assert client.get(path).status_code == 200
    assert client.post(path, {"do": "confirm"}).status_code == 403


LOANS = "income,decision,said,score\n" + "\n".join(
    f"{900 + n % 7},{'ja' if n % 2 else 'nein'},{'ja' if n % 2 else 'nein'},{0.9 if n % 2 else 0.1}"
    for n in range(60)
)


class TestPositiveClass:
    """One number is the probability of one class; which one it is, is asked before anything is measured by it."""

    @pytest.fixture
    def page(self, client: Client, model: Model) -> tuple[str, dict[str, str]]:
        """The preview of a file with probabilities of `ja`, and what a browser would send of it."""
        path = str(send(client, model, LOANS, "reference")["Location"])
        shown = markup(client.get(path))
        roles = {"decision": "label", "said": "prediction", "score": "probability"}
        chosen = choices(shown) | {role_of(shown, name): role for name, role in roles.items()}
        return path, choices(markup(client.post(path, chosen | {"do": "preview"})))

    def test_is_asked_and_preselected_by_what_the_rows_show(
        self, client: Client, model: Model, page: tuple[str, dict[str, str]]
    ) -> None:
        path, sent = page

        client.post(path, sent | {"do": "confirm"})

        assert sent["positive_class"] == "ja"
        assert model.versions.get().signature["positive_class"] == "ja"

    def test_is_what_a_person_chose(
        self, client: Client, model: Model, page: tuple[str, dict[str, str]]
    ) -> None:
        path, sent = page

        client.post(path, sent | {"positive_class": "nein", "do": "confirm"})

        assert model.versions.get().signature["positive_class"] == "nein"

    def test_is_refused_at_its_field_where_it_is_no_class(
        self, client: Client, model: Model, page: tuple[str, dict[str, str]]
    ) -> None:
        path, sent = page

        answer = client.post(path, sent | {"positive_class": "vielleicht", "do": "confirm"})

        assert answer.status_code == 422
        assert "the classes are 'ja' and 'nein'" in unescape(markup(answer))
        assert not Dataset.objects.exists()
