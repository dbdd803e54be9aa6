"""Versions, references and data sets are archived and restored on their pages."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from inference.registry.models import Dataset, Model, Version
from inference.registry.versions import external_version
from monitors.definitions.models import Reference
from tests.markup import markup
from tests.worlds.approvals import give_reference

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


ARCHIVE, RESTORE = {"archived": "true"}, {"archived": "false"}


def press(client: Client, route: str, model: Model, which: object, button: dict[str, str]) -> str:
    return markup(client.post(reverse(route, args=[model.name, which]), button, follow=True))


def versions_of(client: Client, model: Model) -> tuple[str, str]:
    """The table of versions, and what follows it."""
    table, rest = markup(client.get(reverse("versions", args=[model.name]))).split("</table>", 1)
    return table, rest


def test_a_version_leaves_the_list_and_comes_back(client: Client, model: Model) -> None:
    for version in ("1", "2"):
        external_version(model=model, version=version)

    away = press(client, "version_archive", model, "2", ARCHIVE)
    table, rest = versions_of(client, model)
    still_away = press(client, "version_archive", model, "2", ARCHIVE)
    back = press(client, "version_archive", model, "2", RESTORE)

    assert "Version 2 is archived." in away
    assert "Version 2 is archived." in still_away
    assert 'name="archived" value="false"' in away
    assert "Version 2" not in table
    assert "Archived:" in rest
    assert "Version 2 is listed again." in back
    assert "Version 2" in versions_of(client, model)[0]


def test_the_champion_stays_and_the_page_says_why(client: Client, model: Model) -> None:
    external_version(model=model, version="1")

    said = press(client, "version_archive", model, "1", ARCHIVE)

    assert "Version 1 is the champion; change that first." in said
    assert Version.objects.get().archived_at is None


def test_a_former_reference_leaves_the_list_and_comes_back(client: Client, model: Model) -> None:
    former = give_reference(model)

    refused = press(client, "reference_archive", model, former.pk, ARCHIVE)
    Reference.objects.update(is_active=False)
    away = press(client, "reference_archive", model, former.pk, ARCHIVE)

    assert "Windows are compared with this reference" in refused
    assert f"Reference {former.pk} is archived." in away
    assert "Archived references" in away
    assert "is listed again" in press(client, "reference_archive", model, former.pk, RESTORE)
    assert not Reference.objects.exclude(archived_at=None).exists()


def test_a_data_set_leaves_the_list_and_comes_back(client: Client, model: Model) -> None:
    give_reference(model)
    former = Dataset.objects.get()

    refused = press(client, "dataset_archive", model, former.pk, ARCHIVE)
    Reference.objects.update(is_active=False)
    away = press(client, "dataset_archive", model, former.pk, ARCHIVE)

    assert "Windows are compared with the data set" in refused
    assert "Archived data sets" in away
    assert reverse("dataset_delete", args=[model.name, former.pk]) not in away
    assert "is listed again" in press(client, "dataset_archive", model, former.pk, RESTORE)


@pytest.mark.parametrize(("role", "version", "others"), [("viewer", 403, 403), ("editor", 403, 302)])
def test_needs_the_rights_of_the_api(
    client: Client, model: Model, role: str, version: int, others: int
) -> None:
    external_version(model=model, version="1")
    give_reference(model)
    model.project.memberships.update(role=role)
    pages = [("version_archive", "1"), ("reference_archive", Reference.objects.get().pk),
             ("dataset_archive", Dataset.objects.get().pk)]  # fmt: skip

    answers = [
        client.post(reverse(route, args=[model.name, which]), ARCHIVE).status_code for route, which in pages
    ]

    assert answers == [version, others, others]
