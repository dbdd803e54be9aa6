import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Queue
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from driftline.accounts.bootstrap import PROJECT, working_credentials
from driftline.demo.api_client import Api
from driftline.demo.claims import Claims
from driftline.demo.drawn_story import StorySetting
from driftline.demo.flights import play_flights
from driftline.demo.flights_replay import TOTAL_DAYS
from driftline.demo.flights_timeline import MODEL as FLIGHTS_MODEL
from driftline.demo.receiver import Receiver
from driftline.demo.setup import ensure_channels
from driftline.demo.traffic import Traffic
from driftline.demo.visits import Visits
from driftline.demo.wire import RequestSender
from driftline.services.demos import DEMOS

HOST = "127.0.0.1"


class Command(BaseCommand):
    help = "Sets up the demo on the running server of this home and replays it, until it is stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--play", choices=DEMOS, default=DEMOS[0], help="all stories, or one of them")
        parser.add_argument(
            "--history-days", type=int, default=TOTAL_DAYS, help="stop the flights after so many days"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        token = working_credentials(settings.HOME).token
        connection.close()  # everything else goes through the API
        if token is None:
            self.stderr.write(
                "The demo sends with the first token, which is not valid any more: it stops here."
            )
            return
        receiver = Receiver(settings.HOME)
        receiver.start()
        ensure_channels(Api(HOST, settings.PORT, token), receiver)
        stage = _Stage(token, datetime.now(UTC), options["history_days"])
        _play(stage.play_all() if options["play"] == "all" else [stage.alone(options["play"])])


class _Stage:
    """The stories with what they need, in the order in which they take the machine."""

    def __init__(self, token: str, began: datetime, history_days: int) -> None:
        self._token = token
        self._began = began
        self._history_days = history_days

    def play_all(self) -> list[Callable[[], None]]:
        """Play the visits until their fault is in, then the claims until they are repaired, then the flights."""
        are_visits_shown, are_claims_shown = Event(), Event()
        return [
            lambda: self._play_story(Visits, are_visits_shown),
            lambda: _after(are_visits_shown, lambda: self._play_story(Claims, are_claims_shown)),
            lambda: _after(are_claims_shown, self.play_flights),
        ]

    def alone(self, story: str) -> Callable[[], None]:
        if story == "flights":
            return self.play_flights
        return lambda: self._play_story(Visits if story == "visits" else Claims, Event())

    def _play_story(self, kind: type[Visits] | type[Claims], is_shown: Event) -> None:
        api, traffic = self._callers(kind.model.name)
        setting = StorySetting(settings.HOME, api, traffic, is_shown)
        kind(setting, project=PROJECT, began=self._began).run()

    def play_flights(self) -> None:
        api, traffic = self._callers(FLIGHTS_MODEL)
        play_flights(
            home=settings.HOME,
            api=api,
            traffic=traffic,
            project=PROJECT,
            began=self._began,
            minutes_per_day=settings.DEMO_MINUTES_PER_DAY,
            history_days=self._history_days,
        )

    def _callers(self, model: str) -> tuple[Api, Traffic]:
        """Give a story connections of its own: its thread shares none with another."""
        api = Api(HOST, settings.PORT, self._token)
        sender = RequestSender(HOST, settings.PORT, f"/v2/models/{model}/infer", self._token)
        return api, Traffic(api=api, sender=sender, model=model)


def _after(earlier: Event, play: Callable[[], None]) -> None:
    earlier.wait()
    play()


def _play(stories: list[Callable[[], None]]) -> None:
    """Play the stories side by side; where one fails all end, and the supervisor starts the demo again."""
    ended: Queue[BaseException | None] = Queue()
    for story in stories:
        Thread(target=_play_one, args=(story, ended), daemon=True).start()
    for _ in stories:
        if (failure := ended.get()) is not None:
            raise failure


def _play_one(story: Callable[[], None], ended: "Queue[BaseException | None]") -> None:
    try:
        story()
    except BaseException as failure:  # the main thread raises it
        ended.put(failure)
    else:
        ended.put(None)
