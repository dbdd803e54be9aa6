"""Decisions that are derived again from stored rows: equal, different, or not possible any more."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db.models import JSONField, Value
from django.test import override_settings
from django.utils import timezone
from msgspec import to_builtins
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Alert, Incident
from monitors.metrics.store.models import MetricPoint, PackedPoints
from monitors.reports.derivation import verdicts
from monitors.reports.derivation.result import is_equal
from monitors.rules.services import create_rule
from monitors.stats.promotion.gate import GatePolicy, judge
from monitors.stats.promotion.paired import PairedComparison, compare_pairs
from monitors.summaries.models import Summary
from monitors.summaries.rollups import drop_parts
from monitors.workflows.context import to_json
from monitors.workflows.judging.pairs import compare_wanted, policy_of
from monitors.workflows.models import Run, Step, Workflow
from monitors.workflows.services import reject
from monitors.workflows.steps.shadow import wanted_pairs
from tests.inference.onnx_models import classifier_signature
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import give_reference, label, make_model, rows_of_a_day, truths, work
from tests.worlds.approvals import log as log_rows
from tests.worlds.moved_income import drift_of_income
from tests.worlds.points import change_points
from tests.worlds.stumps import BUSY, DAY, log, make_version

A_DAY = timedelta(days=1)
SIGNATURE = to_builtins(classifier_signature(2)) | {"classes": ["0", "1"], "positive_class": "1"}
MIN_PAIRS, MAX_PAIRS = 500, 5_000


def explain(name: str, **options: str) -> tuple[list[str], bool]:
    """Return the lines of the command, and whether it ended well."""
    out = StringIO()
    try:
        call_command("explain_decision", name, stdout=out, **options)
    except SystemExit:
        return out.getvalue().splitlines(), False
    return out.getvalue().splitlines(), True


@pytest.fixture(scope="class")
def stored(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of an incident that is stored once for a class."""
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        project = Project.objects.create(slug="bank", name="Bank")
        yield drift_of_income(project, quiet=1, moved=2).incidents.get().pk


class TestIncident:
    @pytest.fixture
    def incident(self, stored: int, db: None) -> Incident:
        return Incident.objects.get(pk=stored)

    def test_is_equal_to_what_its_summaries_and_points_give(self, incident: Incident) -> None:
        lines, ended_well = explain(f"INC-{incident.pk}")

        assert ended_well
        assert lines[-1] == "4 equal, 0 differ, 0 cannot be derived."
        assert any("from summaries" in line for line in lines)

    def test_differs_where_the_stored_alert_was_changed(self, incident: Incident) -> None:
        Alert.objects.update(value=9.5)

        lines, ended_well = explain(f"INC-{incident.pk}")

        assert not ended_well
        assert sum(line.startswith("DIFFERS") and "stored 9.5" in line for line in lines) == 2

    def test_differs_where_the_rule_as_it_was_would_not_have_fired(self, incident: Incident) -> None:
        alert = Alert.objects.get()
        Alert.objects.update(definition=alert.definition | {"threshold": 1e6})

        lines, _ = explain(f"INC-{incident.pk}")

        assert any(line.startswith("DIFFERS  the rule 'moved' fires") for line in lines)

    @pytest.mark.parametrize(
        "changed",
        [{"cooldown": None}, {"threshold": "high"}, {"operator": "beside"}, {"condition": {"psi": 1}}],
        ids=lambda changed: next(iter(changed)),
    )
    def test_says_that_it_cannot_where_the_stored_rule_is_damaged(
        self, incident: Incident, changed: dict[str, object]
    ) -> None:
        alert = Alert.objects.get()
        Alert.objects.update(definition=alert.definition | changed)

        lines, ended_well = explain(f"INC-{incident.pk}")

        assert ended_well
        assert lines[0].endswith("the rule that was stored with it is damaged, or of an earlier release.")
        assert lines[-1] == "0 equal, 0 differ, 1 cannot be derived."

    def test_stays_derivable_when_the_rule_is_changed(self, incident: Incident) -> None:
        alert = Alert.objects.get()
        assert alert.rule is not None
        type(alert.rule).objects.update(threshold=50.0, name="renamed")

        assert explain(f"INC-{incident.pk}")[0][-1].startswith("4 equal")

    def test_says_that_it_cannot_where_points_and_summaries_are_not_kept(self, incident: Incident) -> None:
        PackedPoints.objects.all().delete()
        Summary.objects.all().delete()

        lines, ended_well = explain(f"INC-{incident.pk}")

        assert ended_well
        assert lines[-1] == "0 equal, 0 differ, 3 cannot be derived."
        assert all("not kept any more" in line for line in lines[:-1])

    def test_says_that_it_cannot_where_the_earlier_points_of_its_streak_are_not_kept(
        self, incident: Incident
    ) -> None:
        alert = Alert.objects.get()
        Alert.objects.update(definition=alert.definition | {"for_windows": 2})
        PackedPoints.objects.filter(start__lt=alert.window_start).delete()

        lines, ended_well = explain(f"INC-{incident.pk}")

        assert ended_well
        assert any("the points of its earlier windows are not kept" in line for line in lines)

    def test_says_that_it_cannot_where_the_summaries_have_fewer_rows_than_the_rule_saw(
        self, incident: Incident
    ) -> None:
        alert = Alert.objects.get()
        hour = Summary.objects.get(span="hour", segment="", start=alert.window_start)
        day = Summary.objects.filter(span="day", segment="", start=alert.window_start)
        day.update(payload=hour.payload, rows=hour.rows)

        lines, ended_well = explain(f"INC-{incident.pk}")

        assert ended_well
        assert any("its summaries have 13 rows of it now, and the rule saw 300" in line for line in lines)

    def test_says_that_it_cannot_where_a_summary_is_damaged(self, incident: Incident) -> None:
        Summary.objects.filter(span="day").update(payload=b"nothing")

        lines, ended_well = explain(f"INC-{incident.pk}")

        assert ended_well
        assert any(line.startswith("cannot") and "recompute this window" in line for line in lines)
        assert any(line.startswith("equal    the rule 'moved' fires") for line in lines)


class TestIncidentOfSeveralWindows:
    @pytest.mark.slow
    def test_differs_where_the_last_window_of_the_rule_is_not_beyond_its_threshold(
        self, project: Project
    ) -> None:
        model = drift_of_income(project, quiet=1, moved=2)
        log_rows(model, rows_of_a_day(DAY + 3 * A_DAY, 300))
        work(model)
        alert = Alert.objects.get()
        Alert.objects.update(
            window_start=DAY + 3 * A_DAY, window_end=DAY + 4 * A_DAY,
            definition=alert.definition | {"for_windows": 2, "of_windows": 3},
        )  # fmt: skip

        lines, _ = explain(f"INC-{alert.incident_id}")

        assert any(line.startswith("DIFFERS  the rule 'moved' fires") for line in lines)

    @pytest.mark.slow
    def test_is_equal_where_a_window_of_the_streak_said_nothing(self, project: Project) -> None:
        incident = drift_of_income(project, quiet=1, moved=3).incidents.get()
        alert = Alert.objects.get()
        Alert.objects.update(
            window_start=DAY + 3 * A_DAY, window_end=DAY + 4 * A_DAY, definition=alert.definition | {"for_windows": 2},
        )  # fmt: skip
        change_points(
            MetricPoint.objects.filter(metric="psi", feature="income", span="day", start=DAY + 2 * A_DAY),
            status="insufficient",
        )

        lines, _ = explain(f"INC-{incident.pk}")

        assert any(line.startswith("equal    the rule 'moved' fires") for line in lines)


@pytest.mark.slow
def test_a_week_of_which_a_month_stands_for_some_days_cannot_be_derived(project: Project) -> None:
    """A month's rows are not those of a week that reaches into it, whatever they say."""
    model = make_model(project)
    give_reference(model)
    rule = create_rule(
        project=project, model=model, actor="test", name="moved", metric="psi", feature="income", threshold=0.2,
        span="week",
    )  # fmt: skip
    for number, shift in (
        (14, 0.0),
        (21, 2.0),
        (27, 2.0),
        (36, 0.0),
    ):  # the fourth week reaches into February
        log_rows(model, rows_of_a_day(DAY + number * A_DAY, 300, shift=shift))
    work(model)
    handle_transition(rule.transitions.get(kind="opened").pk)
    for span in ("day", "month"):
        assert drop_parts(model=model, span=span, before=DAY + 60 * A_DAY)

    lines, ended_well = explain(f"INC-{model.incidents.get().pk}")

    assert ended_well
    assert any("are only kept as a part of those from 2026-01-01 to 2026-03-01" in line for line in lines)
    assert lines[-1] == "3 equal, 0 differ, 1 cannot be derived."


@cache
def compared(seed: int = 0) -> PairedComparison:
    rng = np.random.default_rng(seed)
    truth, score = rng.integers(0, 2, 600), rng.uniform(size=600)
    better = np.clip(0.5 * score + 0.5 * truth, 0.01, 0.99)
    return compare_pairs(
        task="binary", y=truth, champion=score, challenger=better, block=np.arange(600) // 60
    )


class TestVerdict:
    @pytest.fixture
    def run(self, project: Project) -> Run:
        """A run with the evidence of its gate, and a workflow that asks for so many pairs."""
        model = make_model(project)
        Workflow.objects.create(model=model, pairs=MIN_PAIRS, max_pairs=MAX_PAIRS)
        champion = model.versions.create(version="1")
        challenger = model.versions.create(version="2")
        run = Run.objects.create(
            model=model,
            trigger="by hand",
            data_until=timezone.now(),
            champion=champion,
            challenger=challenger,
        )
        policy = GatePolicy("log_loss", min_labelled=MIN_PAIRS, max_labelled=MAX_PAIRS)
        run.verdict = to_json(judge(compared(), policy))
        run.save()
        evidence = {"comparison": to_json(compared()), "verdict": run.verdict}
        Step.objects.create(run=run, position=0, name="gate", state="done", evidence=evidence)
        return run

    def test_is_equal_to_what_the_stored_comparison_gives(self, run: Run) -> None:
        lines, ended_well = explain(f"run-{run.pk}")

        assert ended_well
        assert lines[0] == "equal    decision of the gate: promote"
        assert lines[-1] == "6 equal, 0 differ, 1 cannot be derived."

    def test_says_each_reason_on_a_line_of_its_own_and_once(self, run: Run) -> None:
        lines, _ = explain(f"run-{run.pk}")

        reasons = [line for line in lines if line.startswith("  Shadow on live requests, labelled pairs: ")]
        assert len(reasons) == len(set(reasons)) == len(run.verdict["reasons"])  # type: ignore[index]
        assert "Log loss" in reasons[0]
        assert "equal    reasons of the run: those of the gate" in lines

    def test_ends_with_what_became_of_the_run_and_why(self, run: Run) -> None:
        reject(run=run, actor="ada@bank.example", reason="the labels are of one branch")

        lines, _ = explain(f"run-{run.pk}")

        assert lines[-2] == f"Run {run.pk} was rejected by ada@bank.example: the labels are of one branch."
        assert f"equal    end of {run}: rejected" in lines

    @pytest.mark.parametrize("state", ["promoted", "waiting"])
    def test_differs_where_the_run_ended_otherwise_by_the_audit_trail(self, run: Run, state: str) -> None:
        reject(run=run, actor="ada@bank.example", reason="the labels are of one branch")
        Run.objects.update(state=state)

        lines, ended_well = explain(f"run-{run.pk}")

        assert not ended_well
        assert (
            f"DIFFERS  end of {run}: stored {state}, derived rejected (the audit trail has how it ended)"
            in lines
        )

    def test_says_that_it_cannot_where_the_audit_trail_has_no_end_of_the_run(self, run: Run) -> None:
        Run.objects.update(state="promoted")

        lines, _ = explain(f"run-{run.pk}")

        assert (
            f"cannot   end of {run}: the run is promoted, and the audit trail has no entry of that." in lines
        )

    def test_differs_where_the_gate_asks_for_more_since(self, run: Run) -> None:
        Workflow.objects.update(pairs=MAX_PAIRS)

        lines, ended_well = explain(f"run-{run.pk}")

        assert not ended_well
        assert "stored promote, derived inconclusive" in lines[0]

    def test_differs_where_the_stored_verdict_was_changed(self, run: Run) -> None:
        step = run.steps.get()
        step.evidence["verdict"]["decision"] = "reject"
        step.save()

        assert "stored reject, derived promote" in explain(f"run-{run.pk}")[0][0]

    @pytest.mark.parametrize(
        ("part", "value"), [("decision", "reject"), ("reasons", ["It is better."]), ("needs_person", True)]
    )
    def test_differs_where_the_run_keeps_another_verdict_than_its_gate(
        self, run: Run, part: str, value: object
    ) -> None:
        Run.objects.update(verdict=run.verdict | {part: value})  # type: ignore[operator]

        lines, ended_well = explain(f"run-{run.pk}")

        assert not ended_well
        assert [line.endswith("keep one verdict)") for line in lines if line.startswith("DIFFERS")] == [True]

    def test_of_a_gate_with_bounds_that_json_has_no_number_for_is_read_back(self, run: Run) -> None:
        step = run.steps.get()
        step.evidence["comparison"]["metrics"]["brier"] |= {"lower": None, "upper": None}
        step.save()

        assert explain(f"run-{run.pk}")[0][0].startswith("equal")

    def test_says_that_it_cannot_where_the_gate_never_judged(self, run: Run) -> None:
        run.steps.update(evidence={})

        assert "has not judged anything" in explain(f"run-{run.pk}")[0][0]

    @pytest.mark.parametrize("evidence", [None, [1], "promote"], ids=["null", "list", "text"])
    def test_says_that_it_cannot_where_the_evidence_is_no_object(self, run: Run, evidence: object) -> None:
        run.steps.update(evidence=Value(evidence, JSONField()))

        assert "has not judged anything" in explain(f"run-{run.pk}")[0][0]

    def test_differs_where_the_stored_verdict_is_no_object(self, run: Run) -> None:
        step = run.steps.get()
        step.evidence["verdict"] = "promote"
        step.save()

        lines, ended_well = explain(f"run-{run.pk}")

        assert not ended_well
        assert "stored None, derived promote" in lines[0]

    def test_says_that_it_cannot_where_the_evidence_has_another_shape(self, run: Run) -> None:
        run.steps.update(evidence={"comparison": {"n": "many"}, "verdict": {}})

        assert "of an earlier release" in explain(f"run-{run.pk}")[0][0]


class TestVerdictFromTheLog:
    @pytest.fixture
    def run(self, project: Project) -> Run:
        """A run with the evidence of its gate on labelled pairs, which are in the log."""
        model = make_model(project)
        rows = [row for day in range(6) for row in rows_of_a_day(DAY + day * A_DAY, 100)]
        log_rows(model, rows)
        log_rows(model, [replace(row, version="2", role="shadow", probabilities=0.5) for row in rows])
        label(model, truths(rows))
        log_rows(model, rows_of_a_day(DAY + 9 * A_DAY, 1))
        model.versions.update(signature=SIGNATURE)
        Workflow.objects.create(model=model, pairs=MIN_PAIRS, max_pairs=MAX_PAIRS)
        run = Run.objects.create(
            model=model, trigger="by hand", data_until=timezone.now(), champion=model.versions.get(version="1"),
            challenger=model.versions.get(version="2"),
        )  # fmt: skip
        Step.objects.create(
            run=run, position=0, name="shadow", state="done", evidence={"since": rfc3339(DAY)}
        )
        found = compare_wanted(
            wanted_pairs(run, rfc3339(DAY)), signature_of(run.champion), Workflow.of(model)
        )
        assert found is not None
        self.store(run, found)
        return run

    def store(self, run: Run, comparison: PairedComparison) -> None:
        """Keep a comparison as its gate does, with the verdict that follows from it."""
        policy = policy_of(run.model, Workflow.of(run.model), comparison.task)
        run.verdict = to_json(judge(comparison, policy))
        run.save()
        Step.objects.filter(run=run, name="gate").delete()
        Step.objects.create(
            run=run, position=1, name="gate", state="done",
            evidence={"comparison": to_json(comparison), "verdict": run.verdict},
        )  # fmt: skip

    def test_is_equal_to_what_its_pairs_give(self, run: Run) -> None:
        lines, ended_well = explain(f"run-{run.pk}")

        assert ended_well
        assert "equal    decision of the gate from the log: reject" in lines
        assert lines[-1].endswith("0 differ, 0 cannot be derived.")

    def test_differs_where_the_stored_comparison_leads_to_another_decision(self, run: Run) -> None:
        gate = run.steps.get(name="gate")
        gate.evidence["comparison"]["latency_p99_ms_challenger"] = 1e6
        stored = verdicts._read_comparison(gate.evidence["comparison"])
        assert stored is not None
        self.store(run, stored)

        lines, ended_well = explain(f"run-{run.pk}")

        assert not ended_well
        assert [line[:38] for line in lines if line.startswith("DIFFERS")] == [
            "DIFFERS  reasons of the gate from the "
        ]

    def test_says_that_it_cannot_judge_where_the_log_has_other_pairs(self, run: Run) -> None:
        more = rows_of_a_day(DAY, 3, seed=9)
        more = [replace(row, id=f"more-{row.id}") for row in more]
        log_rows(run.model, more)
        log_rows(run.model, [replace(row, version="2", role="shadow", probabilities=0.5) for row in more])

        lines, ended_well = explain(f"run-{run.pk}")

        assert ended_well
        assert any("the log has 603 pairs now" in line for line in lines)

    def test_says_that_it_cannot_where_labels_cannot_be_compared(self, run: Run) -> None:
        Version.objects.update(signature=SIGNATURE | {"classes": ["no"]})

        lines, _ = explain(f"run-{run.pk}")

        assert any(line.startswith("cannot   comparison from the log") for line in lines)


class TestPrediction:
    @pytest.fixture
    def version(self, project: Project) -> Version:
        version = make_version(project, BUSY)
        log(version, BUSY, rows=20, labelled=False)
        return version

    @pytest.mark.slow
    def test_is_equal_to_what_its_file_answers(self, version: Version) -> None:
        lines, ended_well = explain("p3", model="stumps")

        assert ended_well
        assert lines[-1] == "1 equal, 0 differ, 0 cannot be derived."

    @pytest.mark.slow
    def test_differs_where_the_log_has_another_answer(self, version: Version) -> None:
        other = make_other_answer(version)

        lines, ended_well = explain(other, model="stumps")

        assert not ended_well
        assert lines[0].startswith("DIFFERS  prediction")

    def test_says_that_it_cannot_where_a_value_is_not_in_the_log(self, version: Version) -> None:
        Model.objects.update(privacy={"x": "hash"})

        assert "does not hold what was sent as x" in explain("p3", model="stumps")[0][0]

    def test_is_refused_where_the_log_has_no_row_of_that_id(self, version: Version) -> None:
        with pytest.raises(CommandError, match="The log of stumps has no prediction 'nobody'"):
            explain("nobody", model="stumps")

    def test_says_that_it_cannot_where_the_file_is_another(self, version: Version, home: Path) -> None:
        (home / version.path).write_bytes(b"something else")

        assert explain("p3", model="stumps")[0][0].startswith("cannot")

    def test_says_that_it_cannot_where_the_chunk_of_the_row_is_damaged(self, version: Version) -> None:
        PredictionChunk.objects.update(payload=b"nothing")

        lines, ended_well = explain("p3", model="stumps")

        assert ended_well
        assert lines[0].startswith("cannot   prediction p3: A chunk of the log is damaged")


def make_other_answer(version: Version) -> str:
    """Log a row with an answer that the file does not give."""
    row = SentPrediction(
        id="odd", timestamp=rfc3339(DAY), version=version.version, features={"x": 1.0}, prediction=1.5
    )
    log_predictions(
        model=version.model, batch=PredictionBatch(columns_of([row], task="regression")), now=timezone.now()
    )
    return "odd"


@pytest.mark.parametrize(
    ("stored", "derived", "is_same"),
    [(2e-7, 4e-7, False), (2e-7, 2e-7 * (1 + 1e-9), True), (0.0, 1e-16, True), (1e9, 1e9 + 1, True)],
)
def test_numbers_are_compared_by_their_size(stored: float, derived: float, is_same: bool) -> None:
    assert is_equal(stored, derived) is is_same


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "sentence"), [("INC-1", "no incident"), ("run-1", "no run 1"), ("p1", "add --model")]
)
def test_an_id_that_names_nothing_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        explain(name)
