from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand
from django.db import transaction

from driftline.common.secrets_at_rest import SecretUnreadable, is_sealed, reseal
from monitors.alerts.models import Channel


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
