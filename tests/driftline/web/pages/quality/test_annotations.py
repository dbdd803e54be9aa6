"""Annotations on pages: made by a small form, marked on every chart, listed, changed, and deleted after a question."""

from datetime import timedelta

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Membership, Project, User
from driftline.web.charts.plotly_figures import figure_of
from driftline.web.charts.svg import Chart, ChartLine, Dot, Mark
from inference.registry.models import DeploymentChange, Model
from monitors.annotations.models import Annotation
from monitors.annotations.services import create_annotation
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

NOON = DAY + timedelta(hours=12)
LEGEND = '<span class="key mark note">annotation</span>'


def note(model: Model, text: str = "new price list", **fields: object) -> Annotation:
    return create_annotation(model=model, **{"start": NOON, "text": text, "actor": "test"} | fields)  # type: ignore[arg-type]


@pytest.fixture
def watched(model: Model) -> Model:
    """A model with two days of predictions."""
    log(model, [*rows_of_a_day(DAY, 200), *rows_of_a_day(DAY + timedelta(days=1), 200)])
    work(model)
    return model


class TestMarks:
    def test_are_on_the_charts_of_each_page_with_a_legend(self, client: Client, model: Model) -> None:
        give_reference(model)
        rows = rows_of_a_day(DAY, 300)
        log(model, [*rows, *rows_of_a_day(DAY + timedelta(days=1), 1)])  # the day is over
        label(model, truths(rows))
        work(model)
        note(model)

        pages = {
            page: markup(client.get(f"/models/{model.name}/{page}"))
            for page in ("", "drift", "performance", "latency", "features/income")
        }

        title = 'title="new price list (noted by test)"'
        wanted = ('class="mark note"', LEGEND, title)
        missing = {page: [part for part in wanted if part not in shown] for page, shown in pages.items()}
        assert missing == {page: [] for page in pages}

    def test_are_nowhere_without_an_annotation(self, client: Client, watched: Model) -> None:
        shown = markup(client.get(f"/models/{watched.name}/performance"))

        assert 'class="mark note"' not in shown
        assert LEGEND not in shown

    def test_an_interval_that_began_before_the_range_is_shaded_from_its_start(self) -> None:
        mark = Mark(DAY - timedelta(days=3), "note", "sale", "note", end=DAY + timedelta(days=1))
        dots = [Dot(DAY, DAY + timedelta(days=1), 0.5)]
        chart = Chart(
            "c", "t", "s", DAY, DAY + timedelta(days=2), [ChartLine("champion", dots)], marks=[mark]
        )

        picture, figure = chart.svg(), figure_of(chart)

        assert '<rect class="note" x="0.0" y="0" width="500.0"' in picture
        assert 'class="mark note"' not in picture  # its start is not in the range
        assert [(shape.type, str(shape.x0)[:10]) for shape in figure.layout.shapes] == [
            ("rect", DAY.date().isoformat())
        ]
        assert figure.layout.annotations[0].hovertext == "sale"

    def test_a_deployment_by_a_run_leads_to_the_run(self, client: Client, watched: Model) -> None:
        DeploymentChange.objects.create(
            model=watched, generation=9, kind="promote", before={}, after={"champion": "2"}, event_time=NOON,
            actor="run 12", reason="drift",
        )  # fmt: skip

        shown = markup(client.get(f"/models/{watched.name}/performance"))

        assert f'/models/{watched.name}/runs/12"' in shown


class TestForm:
    def test_notes_what_a_person_entered_in_utc(self, client: Client, watched: Model, owner: User) -> None:
        answer = client.post(
            f"/models/{watched.name}/annotations",
            {"start": "2026-01-05T12:00", "text": "new price list", "link": "https://wiki.example/prices"},
            follow=True,
        )

        made = Annotation.objects.get(model=watched)
        assert (made.start, made.end, made.created_by) == (NOON, None, owner.email)
        assert '<a href="https://wiki.example/prices" rel="noreferrer">new price list' in markup(answer)
        assert AuditEntry.objects.get(action="annotation.create").actor == owner.email

    def test_says_at_the_field_what_is_wrong_with_a_link(self, client: Client, watched: Model) -> None:
        answer = client.post(
            f"/models/{watched.name}/annotations",
            {"start": "2026-01-05T12:00", "text": "new price list", "link": "javascript:alert(1)"},
        )

        assert answer.status_code == 422
        assert "A link begins with http:// or https://" in markup(answer)
        assert not Annotation.objects.exists()

    def test_changes_an_annotation(self, client: Client, watched: Model) -> None:
        made = note(watched)

        client.post(
            f"/models/{watched.name}/annotations/{made.pk}",
            {"start": "2026-01-05T13:00", "end": "2026-01-05T14:00", "text": "sale", "link": ""},
        )

        made.refresh_from_db()
        assert (made.text, made.start, made.end) == (
            "sale",
            NOON + timedelta(hours=1),
            NOON + timedelta(hours=2),
        )

    def test_asks_before_it_deletes(self, client: Client, watched: Model) -> None:
        made = note(watched)

        asked = client.get(f"/models/{watched.name}/annotations/{made.pk}/delete")
        kept = Annotation.objects.exists()
        client.post(f"/models/{watched.name}/annotations/{made.pk}", {"do": "delete"})

        assert "disappears from all charts" in markup(asked)
        assert kept
        assert not Annotation.objects.exists()

    def test_a_viewer_reads_them_and_has_no_form(self, watched: Model, project: Project) -> None:
        note(watched)
        viewer = User.objects.create_user("viewer@bank.example")
        Membership.objects.create(project=project, user=viewer, role="viewer")
        client = Client()
        client.force_login(viewer)

        shown = markup(client.get(f"/models/{watched.name}/", follow=True))

        assert "new price list" in shown
        assert "Add the annotation" not in shown

    def test_the_models_page_shows_the_newest_and_links_to_all(self, client: Client, watched: Model) -> None:
        for number in range(7):
            note(watched, f"note number {number}", start=NOON + timedelta(minutes=number))

        of_model = markup(client.get(f"/models/{watched.name}/"))
        everything = markup(client.get(f"/models/{watched.name}/annotations"))

        listed = of_model.partition('id="annotations"')[2]
        assert "note number 6" in listed
        assert "note number 1<" not in listed
        assert "All 7 annotations" in listed
        assert "note number 0" in everything

    def test_a_model_takes_its_annotations_along(self, watched: Model, project: Project) -> None:
        lonely = Model.objects.create(project=project, name="lonely", task="binary")
        note(lonely)

        lonely.delete()

        assert not Annotation.objects.exists()
