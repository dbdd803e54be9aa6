import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from inference.registry.publishing import publish
from inference.serving.engine import EngineOptions
from inference.serving.main import serve_forever


class Command(BaseCommand):
    help = "Serves inference, the API and the pages on one port, and drains the spool into the log beside it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", choices=["inference", "web"], help="serve one plane alone, for scale")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port (default DRIFTLINE_PORT)")
        parser.add_argument("--workers", type=int, default=settings.WEB_WORKERS, help="serving processes")

    def handle(self, *args: Any, **options: Any) -> None:
        only = options["only"]
        if only != "inference":
            publish()  # an inference server starts from the plan file alone, with the database down
        drain = [sys.executable, sys.argv[0], "drain_spool"]
        serve_forever(
            settings.HOME,
            options["host"],
            options["port"],
            workers=options["workers"],
            asgi_app=None if only == "inference" else "driftline.asgi:application",
            options=EngineOptions(fsync=settings.SPOOL_FSYNC, spool_max_bytes=settings.SPOOL_MAX_BYTES),
            side_processes=[] if only == "web" else [drain],
        )
