import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from driftline.base.processes.priority import lower_priority
from inference.prediction_log.erasure.places.spool import overwrite_until
from inference.prediction_log.ingest.drain import drain_until

NICENESS = 2  # to the serving processes, beside which it is started


class Command(BaseCommand):
    help = (
        "Moves spooled predictions into the log, and callbacks of jobs into the outbox, until it is stopped; "
        "then once more until the spool is empty."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        lower_priority(NICENESS)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if settings.HAS_PAGES:  # else this is a serving host, which takes no jobs
            from monitors.alerts.sending.job_callbacks import hand_over_until

            threading.Thread(target=hand_over_until, args=(settings.HOME, stop), daemon=True).start()
        if settings.HOST_TOKEN:  # erasures on the main server cannot reach this disk
            overwrite = threading.Thread(target=overwrite_until, args=(settings.HOME, stop), daemon=True)
            overwrite.start()
        rows = drain_until(settings.HOME, stop)
        self.stdout.write(f"Drained {rows} rows.")
