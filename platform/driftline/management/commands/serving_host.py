from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from driftline.base.clock import now
from driftline.base.errors import Problem
from inference.hosts.models import ServingHost
from inference.hosts.services import add_host, revoke_host


class Command(BaseCommand):
    help = (
        "serving_host add NAME: makes the token with which another machine serves inference, and prints it alone on "
        "the last line. serving_host list: says how each does. serving_host revoke NAME: ends its token."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list")
        for verb in ("add", "revoke"):
            verbs.add_parser(verb).add_argument("name", help="such as serving-2")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["verb"]:
                case "add":
                    self._add(options["name"])
                case "list":
                    self._list()
                case "revoke":
                    self._revoke(options["name"])
        except Problem as problem:
            raise CommandError(problem.detail) from problem

    def _add(self, name: str) -> None:
        host, token = add_host(name=name, actor="command line")
        self.stdout.write(
            f"Serving host {host.name} may join. On that machine set DRIFTLINE_DATABASE_URL as here and "
            f"DRIFTLINE_HOST_TOKEN to the last line, and run: manage.py serve --only inference --join "
            f"{settings.PUBLIC_URL}"
        )
        self.stdout.write(token)

    def _list(self) -> None:
        hosts = ServingHost.objects.active().order_by("name")
        for host in hosts:
            self.stdout.write(f"{host.name}: {_state(host)}")
        if not hosts:
            self.stdout.write("There is no serving host besides this server; add one: serving_host add NAME.")

    def _revoke(self, name: str) -> None:
        host = ServingHost.objects.active().filter(name=name).first()
        if host is None:
            known = ", ".join(ServingHost.objects.active().values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no serving host {name!r}; there are: {known}.")
        revoke_host(host=host, actor="command line", now=now())
        self.stdout.write(f"Serving host {name} gets no plan any more. Stop it: what it has it still serves.")


def _state(host: ServingHost) -> str:
    if host.last_seen_at is None:
        return "not joined yet"
    if host.is_away(now()):
        return f"away since {host.last_seen_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"serves plan {host.generation}" + (f"; {host.failure}" if host.failure else "")
