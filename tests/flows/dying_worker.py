"""Workers that die right after a step, one after the other.

`python -m tests.flows.dying_worker DATABASE MODEL STEP...` exits with the number of those that were not killed.
"""

import os
import signal
import sys
from typing import Any

import django
from django.conf import settings


def main(database: str, model_id: str, *steps: str) -> int:
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    return sum(_die(int(model_id), step) != signal.SIGKILL for step in steps)


def _die(model_id: int, step: str) -> int:
    """Give the signal that ended a worker on a model."""
    child = os.fork()
    if not child:
        _work(model_id, step)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status)


def _work(model_id: int, step: str) -> None:
    from inference.prediction_log.models import TouchedPeriod
    from monitors.summaries import services

    do = getattr(services, step)

    def do_and_die(*args: Any, **kwargs: Any) -> None:
        do(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(services, step, do_and_die)
    TouchedPeriod.objects.update(lease_until=None)  # of the one that died before
    services.summarise(model_id)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
