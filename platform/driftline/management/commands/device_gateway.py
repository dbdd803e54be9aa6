import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.edge.nats_gateway import DeviceGateway, NatsServer


class Command(BaseCommand):
    help = (
        "Answers devices that reach a server of NATS and no web server, until it is stopped; `up` starts it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to", default=settings.PUBLIC_URL, help="the address of the web server (default: %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEVICE_NATS:
            raise CommandError("Set DRIFTLINE_DEVICE_NATS to a server, such as tls://nats.example.com:4222.")
        asyncio.run(_run(DeviceGateway(_server(), options["to"])))


def _server() -> NatsServer:
    file = settings.DEVICE_NATS_PASSWORD_FILE
    try:
        password = file.read_text().strip() if file else ""
    except (OSError, ValueError) as error:
        raise CommandError(f"DRIFTLINE_DEVICE_NATS_PASSWORD_FILE cannot be read: {error}.") from error
    return NatsServer(settings.DEVICE_NATS, settings.DEVICE_NATS_USER, password, settings.DEVICE_NATS_CA)


async def _run(gateway: DeviceGateway) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await gateway.run(stop)
