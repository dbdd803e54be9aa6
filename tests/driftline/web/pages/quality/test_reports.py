"""Reports: asked for on a page, followed while a worker makes them, shown in a sandbox, deleted."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from msgspec.structs import replace

from driftline.base.accounts.models import Membership, Project, Role
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.extras import PDF
from inference.registry.models import Model
from monitors.metrics.store.models import SegmentSearch
from monitors.reports.building import build
from monitors.reports.files import ReportFormat
from monitors.reports.models import Report
from monitors.reports.selectors import open_report
from monitors.reports.services import forget_old_reports
from monitors.workflows.models import Run
from tests.absent_extras import hide
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work

pytestmark = pytest.mark.slow

PAGE = "/p/bank/models/approvals/reports"
ORDER = {"preset": "classification", "start": "2026-01-05", "to": "2026-01-05", "reference": "none"}


@pytest.fixture
def logged(model: Model) -> Model:
    log(model, rows_of_a_day(DAY, 20))
    return model


def text(client: Client, path: str = PAGE) -> str:
    return markup(client.get(path))


def ready(model: Model, home: Path) -> Report:
    (home / "reports").mkdir()
    for name in ("7.html", "7.json"):
        (home / "reports" / name).write_text("<p>Report</p>")
    return Report.objects.create(
        pk=7, model=model, start=DAY, end=DAY + timedelta(days=1), state="ready", path="reports/7.html",
        size=13, rows=20, rows_used=20, has_reference=False, created_by="test",
    )  # fmt: skip


class TestBesideDriftline:
    """A report on drift says where its verdicts differ from Driftline's, and why."""

    @pytest.fixture
    def missing(self, model: Model) -> Model:
        """A model of which every fourth income is missing, which Evidently does not look at."""
        give_reference(model)
        rows = rows_of_a_day(DAY, 300)
        log(
            model,
            [
                replace(row, features=row.features | ({} if place % 4 else {"income": None}))
                for place, row in enumerate(rows)
            ],
        )
        work(model)
        return model

    def test_says_where_and_why_they_differ(self, client: Client, missing: Model, home: Path) -> None:
        report = ready(missing, home)
        Report.objects.update(preset="data_drift", has_reference=True)

        said = text(client, f"{PAGE}/{report.pk}?show=beside")

        assert "Evidently by its defaults and Driftline differ on 1 of" in said
        row = said.split('<th scope="row">income</th>')[1].split("</tr>")[0]
        assert "did not drift: " in row
        assert "drifted: Population stability index" in row
        assert "Evidently leaves missing values out" in row

    def test_comes_by_itself_and_without_scripts_by_a_link(
        self, client: Client, missing: Model, home: Path
    ) -> None:
        report = ready(missing, home)
        Report.objects.update(preset="data_drift", has_reference=True)

        page, part = text(client, f"{PAGE}/{report.pk}"), text(client, f"{PAGE}/{report.pk}?part=beside")

        assert f'hx-get="{PAGE}/{report.pk}?part=beside"' in page
        assert f'href="{PAGE}/{report.pk}?show=beside#beside"' in page
        assert part.startswith('<section id="beside"')
        assert "hx-get" not in part

    def test_is_left_out_of_reports_on_something_else(
        self, client: Client, logged: Model, home: Path
    ) -> None:
        report = ready(logged, home)
        Report.objects.update(preset="classification")

        assert 'id="beside"' not in text(client, f"{PAGE}/{report.pk}")


def test_a_report_is_asked_for_and_a_failure_says_what_to_do(client: Client, logged: Model) -> None:
    answer = client.post(PAGE, ORDER, follow=True)
    report = Report.objects.get()
    waiting = markup(answer)
    build(report.pk)
    failed = text(client, f"{PAGE}/{report.pk}")

    assert (report.start, report.end) == (DAY, DAY + timedelta(days=1))
    assert "Waits for a worker since" in waiting
    assert ", and is next: 0%" in waiting
    assert f'hx-get="{PAGE}/{report.pk}?part=report"' in waiting
    assert "None of the 20 rows of this window has a label beside its answer yet. Send labels" in failed
    assert "hx-get" not in failed.partition('id="report"')[2]
    client.post(f"{PAGE}/{report.pk}", {"do": "retry"})
    report.refresh_from_db()
    assert (report.state, report.error) == ("queued", "")


def test_a_report_that_waits_says_behind_what_and_one_that_is_made_says_so(
    client: Client, logged: Model
) -> None:
    """A page said that a worker was at it for eight minutes, while none was."""
    run = Run.objects.create(
        model=logged, trigger="person ada", champion=logged.versions.get(), data_until=DAY
    )
    run.steps.create(name="snapshot", position=0)
    SegmentSearch.objects.create(
        model=logged, start=DAY, end=DAY + timedelta(days=1), requested_by="ada", lease_token=1,
        lease_until=now() + timedelta(minutes=1),
    )  # fmt: skip
    client.post(PAGE, ORDER)
    report = Report.objects.get()

    behind = text(client, f"{PAGE}/{report.pk}")
    queued = text(client, f"/p/bank/models/{logged.name}/runs/{run.pk}")
    Report.objects.update(lease_token=2, lease_until=now() + timedelta(minutes=1))
    begun = text(client, f"{PAGE}/{report.pk}")

    assert (
        "behind 1 piece of work (run) of this project, while workers are at 1 piece of work (segment"
        in behind
    )
    assert "Waits for" in queued
    assert "while workers are at 1 piece of work (segment search)" in queued
    assert "A worker is at it: 0%" in begun


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": "2026-01-04"}, "The end must lie after the start."),
        ({"preset": "data_drift"}, "Drift is measured against a reference; choose one."),
        ({"preset": "regression"}, "Select a valid choice. regression is not one of the available choices."),
        (
            {"segment": "region"},
            "A segment is feature:value, such as airport:JFK, or the name of a declared one.",
        ),
        ({"reference": "period"}, "Give reference_from and reference_to"),
        ({"reference": "active"}, "Select a valid choice"),
        ({"start": "2020-01-01"}, "A report covers up to 400 days."),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_at_its_field(
    client: Client, logged: Model, change: dict[str, str], said: str
) -> None:
    answer = client.post(PAGE, ORDER | change)

    assert answer.status_code == 422
    assert said in markup(answer)
    assert not Report.objects.exists()


def test_a_ready_report_runs_its_scripts_without_this_origin(
    client: Client, logged: Model, home: Path
) -> None:
    report = ready(logged, home)

    page = text(client, f"{PAGE}/{report.pk}")
    framed = client.get(f"{PAGE}/{report.pk}/view")

    assert f'<iframe class="report" src="{PAGE}/7/view" sandbox="allow-scripts"' in page
    assert framed.getvalue() == b"<p>Report</p>"
    policy = framed["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert "X-Frame-Options" not in framed
    assert 'href="/p/bank/api/v1/models/approvals/reports/7/file?format=json"' in page
    found = client.get("/p/bank/api/v1/models/approvals/reports/7/file?format=json")
    assert found.getvalue() == b"<p>Report</p>"
    assert found["Content-Disposition"] == 'attachment; filename="approvals-data-drift-7.json"'


def test_a_report_is_deleted_with_its_files_once_it_is_confirmed(
    client: Client, logged: Model, home: Path, django_capture_on_commit_callbacks: Any
) -> None:
    report = ready(logged, home)

    asked = text(client, f"{PAGE}/{report.pk}/delete")
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(f"{PAGE}/{report.pk}", {"do": "delete"}, follow=True)

    assert "Its files go with it, for everybody." in asked
    assert "Report 7 is deleted." in markup(answer)
    assert not Report.objects.exists()
    assert list((home / "reports").iterdir()) == []


def test_a_viewer_reads_and_makes_nothing(project: Project, logged: Model, home: Path) -> None:
    viewer, report = viewer_of(project), ready(logged, home)

    assert "Editors and admins of this project make reports." in text(viewer)
    assert "Delete" not in text(viewer, f"{PAGE}/{report.pk}")
    assert viewer.post(PAGE, ORDER).status_code == 403
    assert viewer.post(f"{PAGE}/{report.pk}", {"do": "delete"}).status_code == 403


def test_a_model_that_keeps_no_rows_says_where_else_to_look(client: Client, logged: Model) -> None:
    Model.objects.filter(pk=logged.pk).update(rows_kept="none")

    answer = client.post(PAGE, ORDER)

    assert "keeps none once they are summarised" in text(client)
    assert answer.status_code == 422
    assert not Report.objects.exists()


def test_old_reports_go_and_with_them_files_that_no_report_names(logged: Model, home: Path) -> None:
    kept = ready(logged, home)
    (home / "reports" / "99.html").write_text("of a report that is gone")
    (home / "reports" / ".7-1.html").write_text("a draft of the one that stays")

    assert forget_old_reports(timezone.now()) == 0
    left = sorted(path.name for path in (home / "reports").iterdir())
    assert forget_old_reports(kept.created_at + timedelta(days=91)) == 1

    assert left == [".7-1.html", "7.html", "7.json"]
    assert list((home / "reports").iterdir()) == []


def test_only_one_is_made_at_a_time(client: Client, logged: Model) -> None:
    for _ in range(2):
        client.post(PAGE, ORDER)
    first, second = Report.objects.order_by("pk")
    Report.objects.filter(pk=first.pk).update(
        state="running", lease_until=timezone.now() + timedelta(minutes=1), lease_token=1
    )

    build(second.pk)
    second.refresh_from_db()
    waited = second.state
    Report.objects.filter(pk=first.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
    build(second.pk)

    second.refresh_from_db()
    assert (waited, second.state) == ("queued", "failed")


def test_a_report_that_kills_its_workers_is_given_up(client: Client, logged: Model) -> None:
    client.post(PAGE, ORDER)
    Report.objects.update(state="running", attempts=3, lease_until=timezone.now() - timedelta(minutes=1))

    build(Report.objects.get().pk)

    assert "Its worker died 3 times" in Report.objects.get().error


def test_the_references_to_choose_from_are_named(client: Client, model: Model) -> None:
    reference = give_reference(model, days=1)
    log(model, rows_of_a_day(DAY, 20))

    page = text(client)

    assert f"Reference {reference.pk}: version 1, 400 rows" in page
    assert "The newest file of the version" in page
    answer = client.post(PAGE, ORDER | {"reference": str(reference.pk + 1)})
    assert answer.status_code == 422


class TestEvidence:
    """An admin has a pack made; others see that it exists."""

    ORDER = {"do": "evidence", "first": "2026-01-05", "last": "2026-01-05"}

    @pytest.fixture
    def pack(self, client: Client, logged: Model) -> Report:
        client.post(PAGE, self.ORDER)
        report = Report.objects.get()
        build(report.pk)
        return report

    def test_is_asked_for_shown_and_downloaded(self, client: Client, pack: Report) -> None:
        shown = text(client, f"{PAGE}/{pack.pk}")
        page = client.get(f"{PAGE}/{pack.pk}/view?download=html")
        document = client.get(f"{PAGE}/{pack.pk}/view?download=json")
        paper = client.get(f"{PAGE}/{pack.pk}/view?download=pdf")

        assert "Download PDF" in shown
        assert f"{PAGE}/{pack.pk}/view?download=pdf" in markup(client.get(f"{PAGE}/{pack.pk}"))
        assert (paper["Content-Type"], b"".join(paper)[:5]) == ("application/pdf", b"%PDF-")
        assert b"What was not monitored" in b"".join(page)
        assert page["Content-Disposition"] == f'attachment; filename="approvals-evidence-{pack.pk}.html"'
        assert b'"driftline-evidence-1"' in b"".join(document)

    def test_has_no_pdf_where_its_packages_are_missing_and_the_command_instead(
        self, client: Client, logged: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hide(monkeypatch, PDF)
        client.post(PAGE, self.ORDER)
        pack = Report.objects.get()
        build(pack.pk)

        shown = text(client, f"{PAGE}/{pack.pk}")

        assert "Download PDF" not in shown
        assert "run make extra ADD=pdf where Driftline is installed" in shown
        pack.refresh_from_db()
        with pytest.raises(Problem, match="make extra ADD=pdf") as missing:
            open_report(pack, ReportFormat.PDF)
        assert (missing.value.status, missing.value.code) == (501, "extra_missing")

    def test_made_without_one_says_to_make_it_again(self, client: Client, pack: Report, home: Path) -> None:
        pack.refresh_from_db()
        (home / pack.path).with_suffix(".pdf").unlink()

        shown = text(client, f"{PAGE}/{pack.pk}")

        assert "Download PDF" not in shown
        assert f"{PAGE}/{pack.pk}/view?download=html" in shown
        with pytest.raises(Problem, match="made where no PDF could be written; make it again") as lost:
            open_report(pack, ReportFormat.PDF)
        assert (lost.value.status, lost.value.code) == (410, "report_lost")

    def test_is_made_of_a_model_that_keeps_no_rows(self, client: Client, logged: Model) -> None:
        Model.objects.filter(pk=logged.pk).update(rows_kept="none")

        client.post(PAGE, self.ORDER)

        assert Report.objects.get().is_evidence

    def test_a_period_that_ends_before_it_starts_is_explained(self, client: Client, logged: Model) -> None:
        answer = client.post(PAGE, self.ORDER | {"last": "2026-01-01"})

        assert answer.status_code == 422
        assert "The end must lie after the start" in markup(answer)

    def test_a_viewer_neither_opens_nor_deletes_it(self, pack: Report, project: Project) -> None:
        viewer = viewer_of(project)

        shown = text(viewer, f"{PAGE}/{pack.pk}")

        assert "Admins of this project open evidence packs" in shown
        assert "Download" not in shown
        assert viewer.get(f"{PAGE}/{pack.pk}/view").status_code == 403
        assert viewer.post(f"{PAGE}/{pack.pk}", {"do": "delete"}).status_code == 403

    def test_an_editor_sees_it_and_does_not_delete_it(self, pack: Report, project: Project) -> None:
        viewer = viewer_of(project)
        Membership.objects.filter(user__email="viewer@bank.example").update(role=Role.EDITOR)

        refused = viewer.post(f"{PAGE}/{pack.pk}", {"do": "delete"})

        assert refused.status_code == 403
        assert Report.objects.filter(pk=pack.pk).exists()
