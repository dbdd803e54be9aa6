import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.hosts.following import PlanFollower, follow_until
from inference.hosts.joining import main_server


class Command(BaseCommand):
    help = (
        "Keeps this serving host in step with the main server, until it is stopped; `serve --join` starts it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="the main server's address")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            server = main_server(settings.HOME, options["url"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        follow_until(PlanFollower(settings.HOME, server), stop)
