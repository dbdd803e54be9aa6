"""A worker process of its own, for tests that kill one: `python -m tests.monitors.workflows.worker DATABASE RUN`."""

import sys

import django
from django.conf import settings


def main(database: str, run_id: str) -> None:
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    from monitors.workflows.engine import advance

    advance(run_id=int(run_id))


if __name__ == "__main__":
    main(*sys.argv[1:])
