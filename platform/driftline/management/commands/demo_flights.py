import signal
import sys
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from driftline.accounts.bootstrap import working_credentials
from driftline.demo.api_client import Api
from driftline.demo.flights import load_flights, shift_to
from driftline.demo.progress import SETUP, ReplayProgress, load_progress, save_progress
from driftline.demo.receiver import Receiver
from driftline.demo.replay import TOTAL_DAYS, Replay
from driftline.demo.setup import set_up
from driftline.demo.timeline import MODEL, Timeline
from driftline.demo.wire import RequestSender

HOST = "127.0.0.1"


class Command(BaseCommand):
    help = "Sets up the flights demo on the running server of this home and replays it, until it is stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--history-days", type=int, default=TOTAL_DAYS, help="stop after so many days")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        home, token = settings.HOME, working_credentials(settings.HOME).token
        connection.close()  # everything else goes through the API
        if token is None:
            self.stderr.write(
                "The demo sends with the first token, which is not valid any more: it stops here."
            )
            return
        progress = load_progress(home) or save_progress(home, _fresh_progress())
        cache = home / "demo" / "flights.parquet"
        api, receiver = Api(HOST, settings.PORT, token), Receiver(home)
        receiver.start()
        if progress.phase == SETUP:
            set_up(api=api, home=home, flights=load_flights(cache), shift=progress.shift, receiver=receiver)
        replay = Replay(
            home=home,
            timeline=Timeline.read(cache),
            sender=RequestSender(HOST, settings.PORT, f"/v2/models/{MODEL}/infer", token),
            api=api,
            progress=progress,
        )
        replay.run(history_days=options["history_days"])


def _fresh_progress() -> ReplayProgress:
    now = datetime.now(UTC)
    return ReplayProgress(
        phase=SETUP,
        total_days=TOTAL_DAYS,
        started_at=now,
        updated_at=now,
        shift_weeks=shift_to(now.date()).days // 7,
        minutes_per_day=settings.DEMO_MINUTES_PER_DAY,
    )
