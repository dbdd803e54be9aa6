"""Workers that die: in the test's own process, or in one that can be killed.

`python -m tests.monitors.workflows.worker DATABASE RUN [STEP]` is such a process; it kills itself right before it
records STEP.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import django
import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from tests.embedded import subprocess_environment

if TYPE_CHECKING:
    from monitors.workflows.models import Run, Step

CHECKOUT = Path(__file__).parents[3]
SETTINGS = {
    "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'platform'}",
    "DJANGO_SETTINGS_MODULE": "driftline.settings",
}


@contextmanager
def worker(run: "Run", *, dies_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker on a run in a process of its own, which can kill itself before it records a step."""
    name = str(connection.settings_dict["NAME"])
    same = {
        "DRIFTLINE_HOME": str(settings.HOME),
        "DRIFTLINE_SECRET_KEY": settings.SECRET_KEY,
        "DRIFTLINE_PUBLIC_URL": settings.PUBLIC_URL,
        "DRIFTLINE_OUTBOUND_ALLOW": ",".join(map(str, settings.OUTBOUND_ALLOW)),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.monitors.workflows.worker", name, str(run.pk), dies_at],
        cwd=CHECKOUT,
        env=subprocess_environment() | SETTINGS | same,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def die_at(name: str, run: "Run") -> None:
    """Have a worker in this process do a step of a run and die before it records that, and its lease run out."""
    from monitors.workflows.engine import advance

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        _die_before_recording(name, die, patched)
        with pytest.raises(KeyboardInterrupt):
            advance(run_id=run.pk)
    let_lease_run_out(run)


def let_lease_run_out(run: "Run") -> None:
    type(run).objects.filter(pk=run.pk).update(lease_until=Now() - timedelta(seconds=1))


def _die_before_recording(name: str, die: Callable[[], None], patched: pytest.MonkeyPatch) -> None:
    from monitors.workflows import engine

    record = engine._record

    def record_or_die(lease: object, step: "Step", *args: object, **kwargs: object) -> bool:
        if step.name == name:
            die()
        return record(lease, step, *args, **kwargs)  # type: ignore[arg-type]

    patched.setattr(engine, "_record", record_or_die)


def main(database: str, run_id: str, dies_at: str = "") -> None:
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    from monitors.workflows.engine import advance

    with pytest.MonkeyPatch.context() as patched:
        _die_before_recording(dies_at, lambda: os.kill(os.getpid(), signal.SIGKILL), patched)
        advance(run_id=int(run_id))


if __name__ == "__main__":
    main(*sys.argv[1:])
