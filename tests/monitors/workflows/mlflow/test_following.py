"""A version that gets the alias is taken once, compared in a run, and reported on."""

from functools import partial

import pytest

from driftline.base.accounts.models import AuditEntry
from inference.registry.deployments import rollback
from inference.registry.files import artifacts
from inference.registry.intake.limits import IntakeLimits
from inference.registry.models import Deployment, Model
from monitors.feed.models import FeedEvent
from monitors.workflows import services as workflows
from monitors.workflows.engine import advance
from monitors.workflows.mlflow import files, following, services
from monitors.workflows.mlflow.following import poll
from monitors.workflows.mlflow.models import MlflowConnection, MlflowReport, MlflowVersion
from monitors.workflows.models import Run, Workflow
from monitors.workflows.starting import starts
from monitors.workflows.starting.patience import MAX_FAILURES
from tests.monitors.workflows.mlflow.conftest import ask, connect, follow, make_due, train, work
from tests.monitors.workflows.mlflow.registry import Registry
from tests.monitors.workflows.remote.service import Service
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


def taken_by(connection: MlflowConnection, number: str = "1") -> MlflowVersion:
    return MlflowVersion.objects.get(model=connection.model, number=number)


def run_of(connection: MlflowConnection, number: str) -> Run:
    run = taken_by(connection, number).run
    assert run is not None
    return run


def promote(world: World, run: Run) -> None:
    advance(run_id=run.pk)
    for day in (11, 12):
        world.send_day(day)
    advance(run_id=run.pk)


@pytest.mark.slow
def test_a_better_version_is_promoted_and_mlflow_hears_of_it_with_the_evidence(
    table_world: World, connection: MlflowConnection, registry: Registry, better: bytes
) -> None:
    registry.add("1", better)

    taken = follow(connection)

    assert taken.run is not None, taken.error
    assert (
        next(step.name for step in taken.run.steps.filter(state="pending").order_by("position")) == "shadow"
    )
    assert taken.version is not None
    assert taken.version.lineage["parameters"] == {
        "server": "mlflow",
        "run_id": "4f1c",
    }
    promote(table_world, taken.run)
    work()
    taken.run.refresh_from_db()
    assert taken.run.state == "promoted", taken.run.steps.order_by("position").last()
    assert registry.aliases == {"challenger": "1", "champion": "1"}
    tags = registry.tags["1"]
    assert tags["driftline.decision"] == "promoted"
    assert (tags["driftline.run"], tags["driftline.version"]) == (str(taken.run.pk), taken.version.version)
    assert tags["driftline.url"].endswith(f"/models/flight-delay/runs/{taken.run.pk}")
    comparison = taken.run.steps.get(name="gate").evidence["comparison"]["metrics"][tags["driftline.metric"]]
    assert tags["driftline.difference"] == f"{comparison['difference']:.6g}"
    assert tags["driftline.interval"] == f"[{comparison['lower']:.6g}, {comparison['upper']:.6g}]"

    rollback(model=table_world.model, expected_generation=None, actor="ada")
    work()

    assert registry.aliases == {"challenger": "1"}  # no version of MLflow answers any more
    assert registry.tags["1"]["driftline.decision"] == "rolled_back"


def test_a_version_is_taken_once(connection: MlflowConnection, registry: Registry, better: bytes) -> None:
    registry.add("1", better)
    first = follow(connection)
    assert first.run is not None
    workflows.cancel(run=first.run, actor="ada")
    work()

    follow(connection)

    assert Run.objects.count() == 1
    assert MlflowVersion.objects.count() == 1
    assert registry.tags["1"]["driftline.decision"] == "cancelled"
    assert "champion" not in registry.aliases


def test_a_version_waits_for_a_run_and_is_left_out_when_the_alias_moves_on(
    connection: MlflowConnection, registry: Registry, better: bytes
) -> None:
    Workflow.objects.update(max_runs_a_day=10)
    registry.add("1", better)
    follow(connection)
    registry.add("2", train(turned=True, rows=1_500))

    waiting = follow(connection)

    assert waiting.state == "waiting"
    assert "has a run under way" in waiting.error
    registry.add("3", train(turned=True, rows=1_000))
    follow(connection)
    workflows.cancel(run=run_of(connection, "1"), actor="ada")
    make_due(MlflowVersion.objects.all())
    work()
    assert taken_by(connection, "2").state == "superseded"
    assert taken_by(connection, "3").state == "compared"

    workflows.cancel(run=run_of(connection, "3"), actor="ada")
    registry.aliases["challenger"] = "2"
    follow(connection)

    assert taken_by(connection, "2").state == "compared"


def test_a_run_that_a_person_started_with_the_version_is_the_one_that_compares_it(
    connection: MlflowConnection, registry: Registry, better: bytes
) -> None:
    model = connection.model
    model.autonomy = "suggest"
    model.save()
    registry.add("1", better)
    waiting = follow(connection)
    assert waiting.version is not None
    assert "a person starts each run" in waiting.error

    run = starts.start_run(model=model, trigger="ada", actor="ada", version=waiting.version.version)
    make_due(MlflowVersion.objects.all())
    work()

    assert taken_by(connection).run == run


def test_the_first_version_of_a_model_answers_without_a_run(
    empty_model: Model, service: Service, registry: Registry, better: bytes
) -> None:
    inputs = (
        b'signature:\n  inputs: \'[{"name": "wind", "type": "float"}, {"name": "load", "type": "float"}]\'\n'
    )
    connection, _ = connect(empty_model, service)
    registry.add("1", better, mlmodel=b"flavors:\n  onnx:\n    data: model.onnx\n" + inputs)

    taken = follow(connection)

    assert taken.state == "champion", taken.error
    champion = Deployment.objects.get(model=empty_model).champion
    assert champion is not None
    assert champion.signature is not None
    assert [feature["name"] for feature in champion.signature["features"]] == ["wind", "load"]
    assert registry.aliases["champion"] == "1"
    assert registry.tags["1"]["driftline.decision"] == "promoted"


class TestARegistryThatFails:
    def test_in_mid_download_leaves_nothing_and_is_tried_again(
        self, connection: MlflowConnection, registry: Registry, better: bytes
    ) -> None:
        registry.add("1", better)
        registry.cuts = 1

        taken = follow(connection)

        assert (taken.state, taken.version, taken.failures) == ("waiting", None, 1)
        assert "connection_error" in taken.error
        assert connection.model.versions.count() == 1
        make_due(MlflowVersion.objects.all())
        work()
        assert (taken_by(connection).state, taken_by(connection).error) == ("compared", "")

    def test_for_a_day_is_given_up_until_somebody_asks(
        self, connection: MlflowConnection, registry: Registry, better: bytes
    ) -> None:
        registry.add("1", better)
        registry.cuts = MAX_FAILURES + 1
        follow(connection)

        for _ in range(MAX_FAILURES):
            make_due(MlflowVersion.objects.all())
            work()

        assert taken_by(connection).state == "failed"
        assert AuditEntry.objects.filter(action="work.failed").count() == 1
        [event] = FeedEvent.objects.filter(kind="mlflow.failed")
        assert event.text.startswith("flight-delay: Driftline could not take version 1 of flights in MLflow")
        assert services.retry(connection=connection, actor="ada") == 1
        work()
        assert taken_by(connection).state == "compared"

    @pytest.mark.parametrize("last_words", [None, b"\x00\xff\n out of order", b"a" * 9_999])
    def test_shows_on_the_connection_when_it_is_asked(
        self, connection: MlflowConnection, registry: Registry, last_words: bytes | None
    ) -> None:
        registry.is_away, registry.last_words = True, last_words

        ask(connection)

        connection.refresh_from_db()
        assert "503" in connection.poll_error
        assert connection.next_poll_at is not None

    def test_at_the_report_hears_of_it_later(
        self, connection: MlflowConnection, registry: Registry, better: bytes
    ) -> None:
        registry.add("1", better)
        taken = follow(connection)
        assert taken.run is not None
        registry.is_away, registry.last_words = True, b"\x00 out of order"
        workflows.reject(run=taken.run, actor="ada")

        work()

        report = MlflowReport.objects.get()
        assert (report.state, "503" in report.error) == ("waiting", True)
        registry.is_away = False
        make_due(MlflowReport.objects.all())
        work()
        assert MlflowReport.objects.get().state == "sent"
        assert registry.tags["1"]["driftline.decision"] == "rejected"

    def test_by_naming_a_version_that_is_no_number_is_not_believed(
        self, connection: MlflowConnection, registry: Registry
    ) -> None:
        registry.aliases["challenger"] = "1\x00"

        ask(connection)

        connection.refresh_from_db()
        assert "is no number" in connection.poll_error
        assert not MlflowVersion.objects.exists()

    def test_by_refusing_the_secret_never_shows_it(
        self, table_world: World, service: Service, registry: Registry
    ) -> None:
        connection, _ = connect(table_world.model, service, secret="driftline:wrong-wrong")

        ask(connection)

        connection.refresh_from_db()
        assert "401" in connection.poll_error
        assert "ZHJpZnRsaW5lOndyb25nLXdyb25n" not in connection.poll_error

    def test_for_good_at_the_report_tells_people(
        self, connection: MlflowConnection, registry: Registry, better: bytes
    ) -> None:
        registry.add("1", better)
        taken = follow(connection)
        assert taken.run is not None
        registry.files.clear()  # somebody deleted the version there

        workflows.reject(run=taken.run, actor="ada")
        work()

        assert MlflowReport.objects.get().state == "failed"
        assert "Model Version not found" in MlflowReport.objects.get().error
        assert FeedEvent.objects.filter(kind="mlflow.failed").count() == 1


class TestAVersionThatIsRefused:
    @pytest.mark.parametrize(
        ("onnx", "mlmodel", "reason"),
        [
            (b"no onnx", None, "not"),
            (None, b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n", "log it once more as ONNX"),
            (None, b"flavors: [", "is not YAML"),
            (None, b"flavors:\n  onnx:\n    data: other.onnx\n", "No such artifact"),
            (None, b"\xff", "is not UTF-8"),
            (None, b"#" * (2 << 20), "larger than"),
        ],
    )
    def test_says_why(
        self,
        connection: MlflowConnection,
        registry: Registry,
        better: bytes,
        onnx: bytes | None,
        mlmodel: bytes | None,
        reason: str,
    ) -> None:
        given = {"mlmodel": mlmodel} if mlmodel else {}
        registry.add("1", onnx or better, **given)

        taken = follow(connection)

        assert taken.state == "failed"
        assert reason in taken.error
        assert connection.model.versions.count() == 1

    def test_is_one_that_the_champions_callers_could_not_call(
        self, connection: MlflowConnection, registry: Registry
    ) -> None:
        registry.add("1", train(turned=True, columns=1))

        taken = follow(connection)

        assert taken.state == "failed"
        assert Run.objects.count() == 0

    def test_is_larger_than_the_intake_takes(
        self,
        connection: MlflowConnection,
        registry: Registry,
        better: bytes,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(files, "DEFAULT_LIMITS", IntakeLimits(file_bytes=100))
        monkeypatch.setattr(artifacts, "receive", partial(artifacts.receive, max_bytes=100))
        registry.add("1", better)

        taken = follow(connection)

        assert taken.state == "failed"
        assert "larger than 100 bytes" in taken.error
        assert connection.model.versions.count() == 1


def test_asks_no_more_than_once_a_minute(connection: MlflowConnection, service: Service) -> None:
    ask(connection)
    asked = len(service.asked)

    poll(connection.pk)

    assert len(service.asked) == asked


def test_without_polls_asks_when_a_webhook_says_so_alone(table_world: World, service: Service) -> None:
    connection, _ = connect(table_world.model, service, polls=False)

    ask(connection)

    connection.refresh_from_db()
    assert connection.polled_at is not None
    assert connection.next_poll_at is None


def test_a_version_of_a_connection_that_was_ended_is_not_taken(
    connection: MlflowConnection, registry: Registry, better: bytes
) -> None:
    registry.add("1", better)
    registry.cuts = 1
    follow(connection)
    services.disconnect(connection=connection, actor="ada")
    make_due(MlflowVersion.objects.all())

    work()

    taken = MlflowVersion.objects.get()
    assert (taken.state, taken.version) == ("superseded", None)


class TestWhatChangesMeanwhile:
    def test_an_answer_that_came_after_a_newer_question_counts_no_more(
        self, connection: MlflowConnection, registry: Registry, better: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.add("1", better)
        registry.add("2", better, alias="other")
        read = following.RegisteredModel.aliases

        def answer_late(registered: following.RegisteredModel) -> dict[str, str]:
            found = read(registered)
            monkeypatch.setattr(following.RegisteredModel, "aliases", read)
            registry.aliases["challenger"] = "2"
            ask(connection)
            return found

        monkeypatch.setattr(following.RegisteredModel, "aliases", answer_late)
        ask(connection)

        connection.refresh_from_db()
        assert connection.alias_version == "2"
        assert taken_by(connection, "2").state == "compared"

    def test_a_version_that_the_alias_left_is_not_downloaded(
        self, connection: MlflowConnection, registry: Registry, better: bytes
    ) -> None:
        registry.add("1", b"no onnx")
        assert follow(connection).state == "failed"
        versions = connection.model.versions.count()
        registry.add("2", better)
        registry.files["1"]["model.onnx"] = better
        services.retry(connection=connection, actor="ada")
        ask(connection)

        assert taken_by(connection, "1").state == "superseded"
        assert taken_by(connection, "2").state == "compared"
        assert connection.model.versions.count() == versions + 1

    def test_a_run_that_a_person_ended_is_not_started_again(
        self, connection: MlflowConnection, registry: Registry, better: bytes
    ) -> None:
        workflows.configure_workflow(model=connection.model, actor="ada", cooldown_hours=0)
        Model.objects.update(autonomy="suggest")
        registry.add("1", better)
        waiting = follow(connection)
        assert waiting.version is not None
        run = starts.start_run(
            model=connection.model, trigger="ada", actor="ada", version=waiting.version.version
        )
        workflows.cancel(run=run, actor="ada")
        Model.objects.update(autonomy="auto")
        make_due(MlflowVersion.objects.all())
        work()

        assert taken_by(connection).run == run
        assert Run.objects.count() == 1


def test_a_connection_that_is_ended_says_nothing_more(
    table_world: World, connection: MlflowConnection, registry: Registry, better: bytes
) -> None:
    registry.add("1", better)
    taken = follow(connection)
    assert taken.run is not None
    services.disconnect(connection=connection, actor="ada")

    workflows.cancel(run=taken.run, actor="ada")
    work()

    assert not FeedEvent.objects.filter(kind="mlflow.failed").exists()
