import signal
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from queue import Queue
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from driftline.demo.api_client import Api
from driftline.demo.claims import Claims
from driftline.demo.flights import Flights
from driftline.demo.receiver import Receiver
from driftline.demo.setup import ensure_channels
from driftline.demo.story import DemoStory, StorySetting
from driftline.demo.traffic import Traffic
from driftline.demo.visits import Visits
from driftline.demo.wire import RequestSender
from driftline.operations.services.demos import DEMOS
from driftline.sign_in.bootstrap import PROJECT, working_credentials

HOST = "127.0.0.1"
STORIES: dict[str, type[Visits] | type[Claims] | type[Flights]] = {
    "visits": Visits,
    "claims": Claims,
    "flights": Flights,
}


class Command(BaseCommand):
    help = "Sets up the demo on the running server of this home and replays it, until it is stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--play", choices=DEMOS, default=DEMOS[0], help="all stories, or one of them")

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
        names = STORIES if options["play"] == "all" else [options["play"]]
        _play(_stories(names, token))


def _stories(names: Iterable[str], token: str) -> list[DemoStory]:
    """Make stories, each of which plays when the one before it has come to its point."""
    began = datetime.now(UTC)
    may_play, made = Event(), list[DemoStory]()
    may_play.set()
    for name in names:
        kind = STORIES[name]
        api = Api(HOST, settings.PORT, token)  # its thread shares no connection with another
        sender = RequestSender(HOST, settings.PORT, f"/v2/models/{kind.model.name}/infer", token)
        traffic = Traffic(api=api, sender=sender, model=kind.model.name)
        setting = StorySetting(settings.HOME, api, traffic, may_play, is_shown=Event())
        made.append(kind(setting, project=PROJECT, began=began))
        may_play = setting.is_shown
    return made


def _play(stories: list[DemoStory]) -> None:
    """Play the stories side by side; where one fails all end, and the supervisor starts the demo again."""
    ended: Queue[BaseException | None] = Queue()
    for story in stories:
        Thread(target=_play_one, args=(story, ended), daemon=True).start()
    for _ in stories:
        if (failure := ended.get()) is not None:
            raise failure


def _play_one(story: DemoStory, ended: "Queue[BaseException | None]") -> None:
    try:
        story.run()
    except BaseException as failure:  # the main thread raises it
        ended.put(failure)
    else:
        ended.put(None)
