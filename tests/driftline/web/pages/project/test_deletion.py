"""What is wrong can be deleted: what depends on it is listed, its name is typed, and an audit row stays."""

from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from msgspec.structs import replace

from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow
from inference.registry.models import Dataset, Model, Version
from inference.registry.versions import external_version
from monitors.definitions.models import Reference
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from monitors.summaries.models import Summary
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow


@pytest.fixture
def busy(model: Model) -> Model:
    """A model with predictions, labels, a reference and a rule that fires."""
    give_reference(model)
    create_rule(
        project=model.project, model=model, actor="test", name="many", metric="count", threshold=10.0,
        notify_within=timedelta(days=900),
    )  # fmt: skip
    rows = rows_of_a_day(DAY, 120)
    log(model, rows)
    label(model, truths(rows))
    work(model)
    return model


def text(answer: object) -> str:
    return unescape(markup(answer))


class TestModel:
    def test_is_deleted_with_all_of_it_once_its_name_is_typed(
        self, client: Client, busy: Model, home: Path
    ) -> None:
        other = make_model(busy.project, "other")
        log(other, rows_of_a_day(DAY, 30))
        path = reverse("model_delete", args=[busy.name])

        shown = text(client.get(path))
        wrong = client.post(path, {"confirm": "other"})
        assert (wrong.status_code, Model.objects.count()) == (422, 2)
        done = client.post(path, {"confirm": busy.name}, follow=True)

        for effect in ("120 logged predictions", "1 version", "1 reference", "1 data set", "1 rule"):
            assert f"<li>{effect}</li>" in shown
        assert "The model approvals was deleted." in text(done)
        assert list(Model.objects.all()) == [other]
        for table in (Rule, Reference, Dataset, Label, Summary, MetricPoint):
            assert not table.objects.exclude(model=other).exists(), table.__name__
        assert PredictionRow.objects.count() == 30
        assert set(PredictionChunk.objects.values_list("model", flat=True)) == {other.pk}
        assert not list(home.glob("datasets/*.parquet"))
        assert AuditEntry.objects.filter(action="model.delete", subject="approvals").count() == 1
        assert client.get(reverse("model", args=["approvals"])).status_code == 404

    def test_is_archived_and_brought_back(self, client: Client, busy: Model) -> None:
        archive = reverse("model_archive", args=[busy.name])

        away = text(client.post(archive, {"archived": "true"}, follow=True))
        models = text(client.get(reverse("models")))
        client.post(archive, {"archived": "false"})

        assert "is archived: it is not listed, and its rules are not judged." in away
        assert "Archived:" in models
        assert f'{reverse("model", args=[busy.name])}"' not in models
        assert f'{reverse("model", args=[busy.name])}"' in text(client.get(reverse("models")))
        assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"model.archive", "model.restore"}

    def test_needs_an_admin(self, client: Client, model: Model) -> None:
        model.project.memberships.update(role="editor")

        page = client.get(reverse("model_delete", args=[model.name]))
        refused = client.post(reverse("model_delete", args=[model.name]), {"confirm": model.name})

        assert "Only admins of this project delete this." in text(page)
        assert refused.status_code == 403
        assert Model.objects.exists()


class TestVersion:
    def test_goes_with_its_predictions(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 30))
        log(model, [replace(row, version="2", id=f"two-{row.id}") for row in rows_of_a_day(DAY, 20, seed=2)])
        work(model)
        path = reverse("version_delete", args=[model.name, "2"])

        assert "<li>20 logged predictions</li>" in text(client.get(path))
        client.post(path, {"confirm": "2"})
        work(model)

        assert list(Version.objects.values_list("version", flat=True)) == ["1"]
        day = Summary.objects.filter(model=model, span="day", segment="")
        assert [one.rows for one in day] == [30]

    def test_that_answers_is_not_deleted(self, client: Client, model: Model) -> None:
        external_version(model=model, version="1")

        refused = client.post(reverse("version_delete", args=[model.name, "1"]), {"confirm": "1"})

        assert refused.status_code == 409
        assert "Version 1 is the champion; take it out of the deployment first." in text(refused)


def test_a_reference_goes_with_its_file(client: Client, model: Model, home: Path) -> None:
    reference = give_reference(model)
    path = reverse("reference_delete", args=[model.name, reference.pk])

    shown = text(client.get(path))
    client.post(path, {"confirm": "1"})

    assert "its file of 2,000 rows" in shown
    assert "drift is not judged until there is another" in shown
    assert not Reference.objects.exists()
    assert not Dataset.objects.exists()
    assert not list(home.glob("datasets/*.parquet"))


def test_a_data_set_goes_with_the_references_made_of_it(client: Client, model: Model) -> None:
    give_reference(model)
    dataset = Dataset.objects.get()
    settings = text(client.get(reverse("model_settings", args=[model.name])))
    path = reverse("dataset_delete", args=[model.name, dataset.pk])

    assert path in settings
    assert "the reference of version 1" in text(client.get(path))
    client.post(path, {"confirm": dataset.sha256[:12]})

    assert not Reference.objects.exists()
    assert not Dataset.objects.exists()
