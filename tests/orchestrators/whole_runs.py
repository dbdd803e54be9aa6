"""What holds of a whole run with any orchestrator as its trainer, though either side is killed in between."""

import signal

from inference.registry.models import DeploymentChange
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.remote.stopping import stop_pipeline
from tests.monitors.workflows.worker import let_lease_run_out, worker
from tests.orchestrators.server import Server, wait_for
from tests.waiting import is_running
from tests.worlds.turning_flights import World


def states_of(run: Run, server: Server) -> list[str]:
    """Return the state of each run of the service that was started for a run of ours."""
    return server.states_of(RemoteTraining.objects.get(run=run).idempotency_key)


def has_model(run: Run) -> bool:
    return RemoteTraining.objects.filter(run=run).exclude(artifact_sha256="").exists()


def finish(run: Run, world: World) -> Run:
    """Wait for the model, let it go through shadow and gate, and return the run as it is then."""
    wait_for(lambda: has_model(run), "the model")
    advance(run_id=run.pk)
    for day in (11, 12):
        world.send_day(day)
    advance(run_id=run.pk)
    return Run.objects.get(pk=run.pk)


def assert_promoted_once(run: Run, server: Server) -> None:
    """Check that there is one new version, one promotion and one run of the service."""
    assert run.state == "promoted"
    assert run.model.versions.count() == 2
    assert DeploymentChange.objects.filter(model=run.model, kind="promote").count() == 1
    assert len(states_of(run, server)) == 1


def cancel(run: Run) -> None:
    services.cancel(run=run, actor="ada")
    stop_pipeline(RemoteTraining.objects.get(run=run).pk)


def assert_stopped(run: Run, server: Server) -> None:
    """Check that the service's run was ended at once, and that nothing came of it."""
    [state] = states_of(run, server)
    assert state in server.stopped
    assert RemoteTraining.objects.get(run=run).stops_left == 0
    assert run.model.versions.count() == 1


def kill_worker_at(step: str, run: Run) -> None:
    """Have a worker's process do a step and be killed before it has recorded it, and its lease run out."""
    with worker(run, dies_at=step) as process:
        assert process.wait() == -signal.SIGKILL
    let_lease_run_out(run)


class WholeRuns:
    """Tests of one orchestrator; a module has it as the fixture `server`."""

    def test_train_a_challenger_that_is_promoted(self, run: Run, server: Server, turned_world: World) -> None:
        advance(run_id=run.pk)

        assert_promoted_once(finish(run, turned_world), server)

    def test_start_a_training_once_though_the_worker_is_killed_after_the_start(
        self, run: Run, server: Server, turned_world: World
    ) -> None:
        kill_worker_at("train", run)
        assert len(states_of(run, server)) == 1
        assert RemoteTraining.objects.get(run=run).started_at is None

        advance(run_id=run.pk)

        assert_promoted_once(finish(run, turned_world), server)

    def test_register_one_version_though_the_worker_is_killed_before_it_notes_that(
        self, run: Run, server: Server, turned_world: World
    ) -> None:
        advance(run_id=run.pk)
        wait_for(lambda: has_model(run), "the model")
        kill_worker_at("register", run)

        assert_promoted_once(finish(run, turned_world), server)

    def test_wait_for_a_server_that_is_killed_and_starts_again(
        self, run: Run, server: Server, turned_world: World
    ) -> None:
        with server.held():
            advance(run_id=run.pk)
            server.held_process()
            with server.killed("server"):
                advance(run_id=run.pk)
                assert "nothing" in run.steps.get(name="train").evidence["service_says"]

        assert_promoted_once(finish(run, turned_world), server)

    def test_leave_no_training_behind_where_the_run_is_cancelled(self, run: Run, server: Server) -> None:
        with server.held():
            advance(run_id=run.pk)
            process = server.held_process()
            cancel(run)

            wait_for(lambda: not is_running(process), "the end of the training")
        assert_stopped(run, server)

    def test_leave_no_training_to_begin_where_the_run_is_cancelled_before_that(
        self, run: Run, server: Server
    ) -> None:
        with server.killed("pipelines"):
            advance(run_id=run.pk)
            cancel(run)

        assert_stopped(run, server)
