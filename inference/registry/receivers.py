"""Publishes the serving plan when tokens change; the registry publishes its own changes itself."""

from typing import Any

from django.dispatch import receiver

from driftline.accounts.signals import tokens_changed
from inference.registry.publishing import publish_on_commit


@receiver(tokens_changed)
def publish_tokens(**_: Any) -> None:
    publish_on_commit()
