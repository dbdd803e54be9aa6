from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand
from django.db import transaction

from driftline.common.secrets_at_rest import SecretUnreadable, is_sealed, reseal
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.sources.models import DeadLetter, Source
from monitors.alerts.models import Channel
from monitors.sinks.models import Sink
from monitors.workflows.mlflow.models import MlflowConnection
from monitors.workflows.mlflow.registry_imports.models import RegistryImport
from monitors.workflows.models import Workflow
from monitors.workflows.pulls.models import Pull


class Command(BaseCommand):
    help = (
        "Encrypts stored secrets under DRIFTLINE_SECRET_KEY, so that DRIFTLINE_SECRET_KEY_FALLBACKS can go."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self._resealed = self._unreadable = 0
        with transaction.atomic():
            for channel in Channel.objects.exclude(secret=b"").select_for_update().order_by("pk"):
                channel.secret = self._reseal(bytes(channel.secret))
                if channel.previous_secret:
                    channel.previous_secret = self._reseal(bytes(channel.previous_secret))
                channel.save(update_fields=["secret", "previous_secret"])
            for workflow in Workflow.objects.exclude(remote_secret=b"").select_for_update().order_by("pk"):
                workflow.remote_secret = self._reseal(bytes(workflow.remote_secret))
                workflow.save(update_fields=["remote_secret"])
            for connection in MlflowConnection.objects.select_for_update().order_by("pk"):
                connection.webhook_secret = self._reseal(bytes(connection.webhook_secret))
                if connection.secret:
                    connection.secret = self._reseal(bytes(connection.secret))
                connection.save(update_fields=["secret", "webhook_secret"])
            sources = Source.objects.exclude(secret=b"", registry_secret=b"")
            for source in sources.select_for_update().order_by("pk"):
                source.secret, source.registry_secret = (
                    self._reseal(bytes(one)) if one else b""
                    for one in (source.secret, source.registry_secret)
                )
                source.save(update_fields=["secret", "registry_secret"])
            for lake in Lake.objects.exclude(secret=b"").select_for_update().order_by("pk"):
                lake.secret = self._reseal(bytes(lake.secret))
                lake.save(update_fields=["secret"])
            for sink in Sink.objects.exclude(secret=b"").select_for_update().order_by("pk"):
                sink.secret = self._reseal(bytes(sink.secret))
                sink.save(update_fields=["secret"])
            for letter in DeadLetter.objects.select_for_update().order_by("pk").iterator(chunk_size=50):
                letter.payload = self._reseal(bytes(letter.payload))
                letter.save(update_fields=["payload"])
            for pull in Pull.objects.exclude(secret=b"", query=b"").select_for_update().order_by("pk"):
                pull.secret, pull.query = (
                    self._reseal(bytes(one)) if one else b"" for one in (pull.secret, pull.query)
                )
                pull.save(update_fields=["secret", "query"])
            for registry in RegistryImport.objects.exclude(secret=b"").select_for_update().order_by("pk"):
                registry.secret = self._reseal(bytes(registry.secret))
                registry.save(update_fields=["secret"])
            for factor in Authenticator.objects.select_for_update().order_by("pk"):
                factor.data = {name: self._reseal_text(value) for name, value in factor.data.items()}
                factor.save(update_fields=["data"])
        self.stdout.write(
            f"{self._resealed:,} secrets encrypted anew, {self._unreadable:,} under a key that is not here."
        )

    def _reseal_text(self, value: Any) -> Any:
        """Encrypt anew what is sealed in a second factor's data, and leave all else."""
        if isinstance(value, list):
            return [self._reseal_text(one) for one in value]
        return self._reseal(value.encode()).decode() if isinstance(value, str) and is_sealed(value) else value

    def _reseal(self, stored: bytes) -> bytes:
        try:
            stored = reseal(stored)
        except SecretUnreadable:
            self._unreadable += 1
        else:
            self._resealed += 1
        return stored
