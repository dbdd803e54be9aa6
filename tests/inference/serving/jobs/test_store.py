"""Jobs on disk: one process runs each, a dead one's are taken over, and nothing is seen in part."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from driftline.base.keys.home_keys import key_of_home
from inference.prediction_log.spool.sealing import KEY_FILE, KeyMissing
from inference.serving.jobs.runner import in_turns
from inference.serving.jobs.store import (
    Claim,
    Job,
    JobStore,
    OpenJob,
    StoredAnswer,
    count_open,
    waiting_callbacks,
)
from inference.serving.plan import PlanCallback
from tests.inference.serving.jobs.made_jobs import a_job

APP = PlanCallback(1, 1, "app")
FIELDS = b"content-type: application/json\r\n"
CLAIM_AND_HANG = """
import pathlib, sys
from inference.serving.jobs.store import JobStore
home, name = sys.argv[1:]
claim = JobStore(pathlib.Path(home), sync=False, keep_seconds=60).claim(name)
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["plain", "sealed"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return open_jobs(tmp_path, seals=request.param == "sealed")


def open_jobs(home: Path, *, seals: bool) -> JobStore:
    key_of_home(home, "log_key")
    return JobStore(home, sync=True, keep_seconds=60, seals=seals)


@pytest.fixture
def job(jobs: JobStore) -> Job:
    job = a_job()
    jobs.add(job, b"the\nbody")
    return job


@pytest.fixture
def claim(jobs: JobStore, job: Job) -> Iterator[Claim]:
    claim = jobs.claim(job.name)
    assert claim is not None
    yield claim
    claim.release()


class TestClaiming:
    def test_gives_what_was_accepted(self, jobs: JobStore, job: Job, claim: Claim) -> None:
        assert (claim.job, claim.body, claim.starts) == (job, b"the\nbody", 1)
        assert jobs.find(1, job.id) == OpenJob(job, "running")

    def test_is_for_one_at_a_time(self, jobs: JobStore, job: Job, claim: Claim) -> None:
        assert jobs.claim(job.name) is None

    def test_of_a_job_far_beyond_its_deadline_does_not_wait_for_who_hangs_with_it(
        self, jobs: JobStore, job: Job, claim: Claim, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: job.deadline_at + 61)

        taken = jobs.claim(job.name)

        assert taken is not None
        assert taken.end(504, FIELDS, b"{}")
        assert not claim.end(200, FIELDS, b"too late")
        found = jobs.find(1, job.id)
        assert isinstance(found, StoredAnswer)
        assert found.ended.status == 504
        taken.release()

    def test_of_a_job_that_was_put_back_begins_anew(self, jobs: JobStore, job: Job) -> None:
        for _ in range(5):
            claim = jobs.claim(job.name)
            assert claim is not None
            assert claim.starts == 1
            claim.put_back()
            assert jobs.find(1, job.id) == OpenJob(job, "queued")
            claim.release()

    def test_takes_over_what_a_killed_process_ran(self, jobs: JobStore, job: Job, tmp_path: Path) -> None:
        command = [sys.executable, "-c", CLAIM_AND_HANG, str(tmp_path), job.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"claimed\n"
            assert jobs.claim(job.name) is None
            process.kill()
            process.wait()

        claim = jobs.claim(job.name)

        assert claim is not None
        assert (claim.starts, claim.body) == (2, b"the\nbody")
        claim.release()

    def test_of_a_job_that_has_ended_or_never_was_gives_none(
        self, jobs: JobStore, job: Job, claim: Claim
    ) -> None:
        claim.end(200, FIELDS, b"{}")

        assert jobs.claim(job.name) is None
        assert jobs.claim(a_job().name) is None

    @pytest.mark.parametrize("content", [b"", b"{}\nbody", b'{"id": "\xff"}\n'])
    def test_sets_a_job_aside_that_cannot_be_decoded(
        self, jobs: JobStore, job: Job, tmp_path: Path, content: bytes
    ) -> None:
        (jobs.open / job.name / "request").write_bytes(content)

        assert jobs.claim(job.name) is None

        assert (jobs.waiting(), count_open(tmp_path), jobs.measure()) == ([], Counter(), Counter())
        jobs.tidy(time.time())
        assert [path.name for path in (tmp_path / "jobs").glob(".*")] == [f".damaged-{job.name}"]
        jobs.tidy(time.time() + 3700)
        assert list((tmp_path / "jobs").glob(".*")) == []


class TestEnding:
    def test_shows_the_answer_and_keeps_no_request(
        self, jobs: JobStore, job: Job, claim: Claim, tmp_path: Path
    ) -> None:
        assert claim.end(200, FIELDS, b"the\nanswer")

        found = jobs.find(1, job.id)
        assert isinstance(found, StoredAnswer)
        assert (found.body, found.ended.status, found.ended.fields) == (b"the\nanswer", 200, FIELDS.decode())
        assert jobs.waiting() == []
        assert [path.name for path in (tmp_path / "jobs").rglob("*") if path.is_file()] == ["answer"]

    def test_of_a_deleted_job_leaves_nothing(self, jobs: JobStore, tmp_path: Path) -> None:
        job = a_job(callback=APP)
        jobs.add(job, b"")
        claim = jobs.claim(job.name)
        assert claim is not None
        assert jobs.delete(1, job.id) == job

        assert not claim.end(200, FIELDS, b"{}")

        claim.release()
        assert jobs.find(1, job.id) is None
        assert [path for path in (tmp_path / "jobs").rglob("*") if path.is_file()] == []

    def test_that_was_cut_off_behind_the_answer_is_finished_by_the_next(
        self, jobs: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = a_job(callback=APP)
        jobs.add(job, b"")
        dying = jobs.claim(job.name)
        assert dying is not None
        with monkeypatch.context() as patch:
            patch.setattr(Claim, "_publish", lambda *_: None)  # the process dies here
            dying.end(200, FIELDS, b"{}")
        dying.release()

        assert jobs.claim(job.name) is None

        found = jobs.find(1, job.id)
        assert isinstance(found, StoredAnswer)
        [(_, callback)] = waiting_callbacks(tmp_path)
        assert (callback.job, callback.ended, callback.answer) == (job, found.ended, b"{}")

    def test_at_once_with_another_leaves_the_callback_that_the_other_owes(
        self, jobs: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = a_job(callback=APP)
        jobs.add(job, b"")
        hung = jobs.claim(job.name)
        monkeypatch.setattr(time, "time", lambda: job.deadline_at + 61)
        taken, publish = jobs.claim(job.name), Claim._publish
        assert hung is not None
        assert taken is not None

        def publish_behind_the_other(claim: Claim, answer: StoredAnswer) -> None:
            monkeypatch.setattr(Claim, "_publish", publish)
            assert taken.end(504, FIELDS, b"{}")
            claim._publish(answer)

        monkeypatch.setattr(Claim, "_publish", publish_behind_the_other)

        assert not hung.end(504, FIELDS, b"{}")

        assert [callback.job for _, callback in waiting_callbacks(tmp_path)] == [job]
        hung.release()
        taken.release()

    @pytest.mark.parametrize(
        ("fields", "body", "told"),
        [
            (FIELDS, b"{}", b"{}"),
            (FIELDS, b"[" + b" " * 20_000 + b"]", None),
            (b"content-type: application/octet-stream\r\n", b"\0", None),
        ],
    )
    def test_tells_a_callback_of_a_short_answer_in_json(
        self, jobs: JobStore, tmp_path: Path, fields: bytes, body: bytes, told: bytes | None
    ) -> None:
        job = a_job(callback=APP)
        jobs.add(job, b"")
        claim = jobs.claim(job.name)
        assert claim is not None

        claim.end(200, fields, body)

        claim.release()
        [(path, callback)] = waiting_callbacks(tmp_path)
        assert (callback.job, callback.answer) == (job, told)
        assert callback.expires_at == callback.ended.ended_at + 60
        path.unlink()
        assert list(waiting_callbacks(tmp_path)) == []


class TestSealedJobs:
    @pytest.fixture
    def jobs(self, tmp_path: Path) -> JobStore:
        return open_jobs(tmp_path, seals=True)

    @pytest.fixture
    def job(self, jobs: JobStore) -> Job:
        job = a_job(callback=APP)
        jobs.add(job, b"canary")
        return job

    def test_show_neither_request_nor_answer_nor_callback(
        self, jobs: JobStore, job: Job, claim: Claim, tmp_path: Path
    ) -> None:
        files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

        claim.end(200, FIELDS, b'["canary"]')

        files |= {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert {path.name for path in files} >= {"request", "answer", job.name}
        assert all(b"canary" not in content and b"sums" not in content for content in files.values())
        assert isinstance(found := jobs.find(1, job.id), StoredAnswer)
        assert found.body == b'["canary"]'

    def test_are_read_when_sealing_was_turned_off(self, job: Job, tmp_path: Path) -> None:
        claim = open_jobs(tmp_path, seals=False).claim(job.name)

        assert claim is not None
        assert claim.body == b"canary"
        claim.release()

    def test_are_set_aside_when_they_were_changed(self, jobs: JobStore, job: Job) -> None:
        path = jobs.open / job.name / "request"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

        assert jobs.claim(job.name) is None
        assert jobs.waiting() == []

    def test_wait_for_a_key_that_is_missing(self, jobs: JobStore, job: Job, tmp_path: Path) -> None:
        master = (tmp_path / KEY_FILE).read_text()
        (tmp_path / KEY_FILE).write_text("another")

        for look in (lambda: jobs.claim(job.name), lambda: jobs.find(1, job.id)):
            with pytest.raises(KeyMissing):
                look()
        (tmp_path / KEY_FILE).write_text(master)

        claim = jobs.claim(job.name)
        assert claim is not None
        assert (claim.body, claim.starts) == (b"canary", 1)
        claim.release()


class TestKeeping:
    def test_ends_when_it_was_long_enough(self, jobs: JobStore, job: Job, claim: Claim) -> None:
        claim.end(200, FIELDS, b"{}")

        assert jobs.tidy(time.time() + 50) == 0
        assert jobs.find(1, job.id) is not None
        assert jobs.tidy(time.time() + 70) == 1
        assert jobs.find(1, job.id) is None

    def test_never_ends_for_a_job_that_has_no_answer(self, jobs: JobStore, job: Job) -> None:
        jobs.tidy(time.time() + 1e6)

        assert jobs.find(1, job.id) == OpenJob(job, "queued")

    def test_does_not_hold_on_to_what_dead_processes_left(self, jobs: JobStore, tmp_path: Path) -> None:
        job, callback = tmp_path / "jobs" / ".1-draft", tmp_path / "jobs" / "callbacks" / ".1-draft"
        job.mkdir()
        callback.touch()
        jobs.tidy(time.time())
        assert job.exists()
        assert callback.exists()
        for draft in (job, callback):
            os.utime(draft, (0, 0))

        jobs.tidy(time.time())

        assert not job.exists()
        assert not callback.exists()

    def test_is_measured_by_project(self, jobs: JobStore, job: Job, tmp_path: Path) -> None:
        jobs.add(a_job(project_id=2), b"x" * 100_000)

        taken = jobs.measure()

        assert count_open(tmp_path) == Counter({1: 1, 2: 1})
        assert taken[2] - taken[1] > 90_000


def test_the_jobs_of_another_project_are_not_found(jobs: JobStore, job: Job) -> None:
    assert jobs.find(2, job.id) is None
    assert jobs.delete(2, job.id) is None
    assert jobs.find(1, job.id) == OpenJob(job, "queued")


def test_projects_take_turns_and_the_oldest_goes_first(jobs: JobStore) -> None:
    busy, calm = [a_job(project_id=10) for _ in range(3)], a_job(project_id=9)
    for job in (*busy, calm):
        jobs.add(job, b"")

    assert in_turns(jobs.waiting()) == [busy[0].name, calm.name, busy[1].name, busy[2].name]


def test_a_job_is_read_as_it_was_written() -> None:
    job = msgspec.structs.replace(a_job(), model='a "model"\nof two lines')

    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
    assert b"\n" not in msgspec.json.encode(job)
