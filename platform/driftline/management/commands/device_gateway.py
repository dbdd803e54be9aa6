import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline_agent.errors import AgentError
from driftline_agent.server.server_client import check_url, is_nats

if TYPE_CHECKING:
    from inference.edge.nats_gateway import DeviceGateway, NatsServer


class Command(BaseCommand):
    help = (
        "Answers devices that reach a server of NATS and no web server, until it is stopped; `up` starts it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to", help="the address of the web server; DRIFTLINE_PUBLIC_URL unless it is given"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEVICE_NATS:
            raise CommandError("Set DRIFTLINE_DEVICE_NATS to a server, such as tls://nats.example.com:4222.")
        url = options["to"] or settings.PUBLIC_URL
        try:
            check_url(url)
        except AgentError as error:
            raise CommandError(str(error)) from error
        if is_nats(url):
            raise CommandError(f"{url} is a server of NATS; --to is the web server.")
        from inference.edge.nats_gateway import DeviceGateway  # loads the packages of the extra nats

        logging.getLogger("httpx").setLevel(logging.WARNING)
        asyncio.run(_run(DeviceGateway(_server(), url, authority=settings.TLS_CERTIFICATE)))


def _server() -> "NatsServer":
    from inference.edge.nats_gateway import NatsServer

    file = settings.DEVICE_NATS_PASSWORD_FILE
    try:
        password = file.read_text().strip() if file else ""
    except (OSError, ValueError) as error:
        raise CommandError(f"DRIFTLINE_DEVICE_NATS_PASSWORD_FILE cannot be read: {error}.") from error
    return NatsServer(settings.DEVICE_NATS, settings.DEVICE_NATS_USER, password, settings.DEVICE_NATS_CA)


async def _run(gateway: "DeviceGateway") -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await gateway.run(stop)
