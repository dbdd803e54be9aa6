"""Evidence packs: each section of a model that drifted, what was not monitored, and who may have one."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from pypdf import PdfReader
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from driftline.base.periods import Period
from inference.registry.models import Model, RowsKept
from monitors.reports.building import build
from monitors.reports.evidence.pack import SECTIONS
from monitors.reports.models import Report
from monitors.reports.services import forget_old_reports, request_evidence
from monitors.workflows.models import Run
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work
from tests.worlds.drifted import DAYS, World, furnish

pytestmark = pytest.mark.slow

LONG = Period(DAY - timedelta(days=2), DAY + timedelta(days=DAYS + 3))


@dataclass(frozen=True)
class Made:
    """A pack with its files' content."""

    report: Report
    html: str
    found: dict[str, Any]

    @classmethod
    def of(cls, model: Model, period: Period = LONG) -> "Made":
        report = request_evidence(model=model, period=period, actor="ada@bank.example")
        build(report.pk)
        report.refresh_from_db()
        assert report.state == "ready", report.error
        path = settings.HOME / report.path
        return cls(report, path.read_text(), orjson.loads(path.with_suffix(".json").read_bytes()))

    def section(self, key: str) -> dict[str, Any]:
        return next(one for one in self.found["sections"] if one["key"] == key)

    def rows(self, key: str, title: str) -> list[dict[str, Any]]:
        tables = self.section(key)["tables"]
        return next(one["rows"] for one in tables if one["title"].startswith(title))


@pytest.fixture(scope="module")
def drifted(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Made, Path]]:
    """A world that drifted, and its pack: all tests look at the same."""
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    patch.setattr(settings, "HOME", home)
    with rows_of_many_tests(django_db_blocker):
        world = furnish()
        Run.objects.update(data_until=DAY + timedelta(days=DAYS))
        yield world, Made.of(world.model), home
    patch.undo()


@pytest.fixture
def world(drifted: tuple[World, Made, Path]) -> World:
    return drifted[0]


@pytest.fixture
def made(drifted: tuple[World, Made, Path]) -> Made:
    return drifted[1]


class TestPack:
    def test_has_every_section_in_both_files(self, made: Made) -> None:
        keys = [section["key"] for section in made.found["sections"]]

        assert keys == [function.__name__ for function in SECTIONS]
        assert all(f'id="{key}"' in made.html for key in keys)

    def test_has_the_same_sections_as_pdf(self, made: Made, drifted: tuple[World, Made, Path]) -> None:
        document = PdfReader((drifted[2] / made.report.path).with_suffix(".pdf"))
        outline = "\n".join(page.extract_text() for page in document.pages[:1])

        assert all(section["title"] in outline for section in made.found["sections"])

    def test_has_the_digest_of_the_json_on_the_page_and_in_the_audit_trail(
        self, made: Made, drifted: tuple[World, Made, Path]
    ) -> None:
        content = (drifted[2] / made.report.path).with_suffix(".json").read_bytes()
        digest = hashlib.sha256(content).hexdigest()

        entry = AuditEntry.objects.get(action="evidence.made")

        assert digest in made.html
        assert entry.after["sha256_of_json"] == digest
        pdf = (drifted[2] / made.report.path).with_suffix(".pdf").read_bytes()
        assert entry.after["sha256_of_pdf"] == hashlib.sha256(pdf).hexdigest()

    def test_lists_versions_with_their_hash_and_the_reference(self, world: World, made: Made) -> None:
        versions = {row["version"] for row in made.rows("versions", "Versions")}
        [reference] = made.rows("versions", "References")

        assert versions == {"1", "2"}
        assert reference["sha256"] == world.model.references.get().dataset.sha256

    def test_counts_the_days_on_which_income_drifted(self, made: Made) -> None:
        income = next(
            row
            for row in made.rows("drift", "By metric")
            if (row["metric"], row["feature"]) == ("Population stability index", "income")
        )

        assert (income["windows"], income["beyond"]) == (DAYS, 3)

    def test_gives_performance_with_intervals_and_rows(self, made: Made) -> None:
        points = made.rows("performance", "The metric that")

        assert len(points) == DAYS
        assert all(one["lower"] < one["value"] < one["upper"] and one["n"] == 300 for one in points)

    def test_compares_segments(self, made: Made) -> None:
        segments = {row["segment"] for row in made.rows("fairness", "The metric that")}

        assert {"rich north", "region:north"} <= segments

    def test_tells_incidents_with_their_causes_and_reactions(self, world: World, made: Made) -> None:
        [incident] = [
            row for row in made.rows("incidents", "Incidents") if row["id"] == f"INC-{world.incident.pk}"
        ]
        kinds = {row["kind"] for row in made.rows("incidents", "Timeline")}

        [cause, *_] = incident["causes"]
        assert (cause["feature"], cause["kind"]) == ("income", "drift")
        assert cause["evidence"] in made.html
        assert "opened" in kinds

    def test_lists_the_run_that_waits(self, world: World, made: Made) -> None:
        assert [row["id"] for row in made.rows("runs", "Runs")] == [world.run.pk]

    def test_has_the_end_of_the_audit_chain(self, made: Made) -> None:
        [chain, *_] = made.section("audit")["sentences"]
        entries = made.rows("audit", "Entries")

        assert "ends with entry" in chain or "No entry is in the hash chain yet" in chain
        assert isinstance(entries, list)

    def test_says_which_days_had_no_rows_and_what_was_muted(self, made: Made) -> None:
        days = made.rows("not_monitored", "Days without rows")
        silences = made.rows("not_monitored", "Silences")

        assert [(row["first"], row["days"]) for row in days] == [
            (f"{LONG.start:%Y-%m-%d}", 2), (f"{DAY + timedelta(days=DAYS):%Y-%m-%d}", 3),
        ]  # fmt: skip
        assert {row["reason"] for row in silences} == {
            "the warehouse was moved",
            "the currency is being repaired",
        }

    def test_supports_frameworks_with_sections_that_it_has(self, made: Made) -> None:
        named = {
            name
            for one in made.section("frameworks")["tables"]
            for row in one["rows"]
            for name in row["sections"].split(", ")
        }

        assert "audit" in named
        assert named <= {section["key"] for section in made.found["sections"]}
        assert '<a href="#audit">11. Extract of the audit trail</a>' in made.html

    def test_reads_in_the_words_of_the_pages_while_the_json_keeps_names(self, made: Made) -> None:
        [rule] = made.rows("objectives", "Rules")
        [objective] = made.rows("objectives", "Objectives")

        assert (rule["metric"], rule["severity"], objective["name"]) == ("psi", "warning", "label_lag_hours")
        for text in ("Population stability index of income is above 0.2", "Labels arrive within (hours)"):
            assert text in made.html
        for name in ("psi", "label_lag_hours", "check_labels", "not_monitored"):
            assert f">{name}" not in made.html

    def test_never_says_that_a_law_is_met(self, made: Made) -> None:
        assert not {"complies", "compliant", "compliance"} & set(made.html.lower().split())


class TestUnwatchedModel:
    @pytest.fixture
    def model(self, project: Project) -> Model:
        model = make_model(project)
        log(model, rows_of_a_day(DAY, 20))
        work(model)
        return model

    def test_says_that_no_label_came_and_no_reference_was_there(self, model: Model) -> None:
        made = Made.of(model, Period(DAY, DAY + timedelta(days=1)))

        [labels] = made.rows("not_monitored", "Rows without a label")
        unreferenced = made.rows("not_monitored", "Features without a reference")
        assert (labels["rows"], labels["missing"], labels["share"]) == (20, 20, 1.0)
        assert {row["feature"] for row in unreferenced} == {"income", "region"}

    def test_says_that_windows_had_too_few_rows(self, model: Model) -> None:
        made = Made.of(model, Period(DAY, DAY + timedelta(days=1)))

        assert "too few rows" in {row["why"] for row in made.rows("not_monitored", "Measured, but")}

    def test_is_made_of_a_model_that_keeps_no_rows(self, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(rows_kept=RowsKept.NONE)
        model.refresh_from_db()

        made = Made.of(model)

        assert any("keeps no rows" in one for one in made.section("not_monitored")["sentences"])

    def test_shows_what_people_wrote_as_text(self, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(description="<script>alert(1)</script>")
        model.refresh_from_db()

        made = Made.of(model)

        assert "<script" not in made.html
        assert "&lt;script&gt;alert(1)" in made.html

    def test_stays_when_old_reports_are_deleted(self, model: Model) -> None:
        made = Made.of(model)

        assert forget_old_reports(timezone.now() + timedelta(days=4000)) == 0
        assert (settings.HOME / made.report.path).exists()

    @pytest.mark.parametrize("days", [0, 401])
    def test_refuses_a_period_without_days_or_with_too_many(self, model: Model, days: int) -> None:
        with pytest.raises(Problem, match=r"end must lie|up to 400 days"):
            request_evidence(model=model, period=Period(DAY, DAY + timedelta(days=days)), actor="test")

    def test_is_written_by_a_command(self, model: Model, tmp_path: Path) -> None:
        out = StringIO()

        call_command(
            "make_evidence", tmp_path / "packs", model="approvals", start="2026-01-05T00:00:00Z",
            end="2026-01-06T00:00:00Z", stdout=out,
        )  # fmt: skip

        page, document, paper = sorted((tmp_path / "packs").iterdir())
        digest = hashlib.sha256(document.read_bytes()).hexdigest()
        assert digest in out.getvalue()
        assert digest in page.read_text()
        assert paper.read_bytes().startswith(b"%PDF-")

    def test_of_a_command_never_replaces_another_one(self, model: Model, tmp_path: Path) -> None:
        same_name = make_model(Project.objects.create(slug="shop", name="Shop"))

        def write(one: Model) -> None:
            call_command(
                "make_evidence", tmp_path, model=one.name, project=one.project.slug, start="2026-01-05T00:00:00Z",
                end="2026-01-06T00:00:00Z", stdout=StringIO(),
            )  # fmt: skip

        write(model)
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}

        with pytest.raises(CommandError, match="holds approvals-evidence-20260105-20260106"):
            write(same_name)

        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before

    def test_a_command_for_a_period_that_ends_before_it_starts_says_so(
        self, model: Model, tmp_path: Path
    ) -> None:
        with pytest.raises(CommandError, match="end must lie after the start"):
            call_command(
                "make_evidence",
                tmp_path,
                model="approvals",
                start="2026-01-06T00:00:00Z",
                end="2026-01-05T00:00:00Z",
            )
