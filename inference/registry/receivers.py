"""Publishes the serving plan when tokens or projects change; the registry publishes its own changes itself."""

from typing import Any

from django.dispatch import receiver

from driftline.accounts.signals import isolation_changed, tokens_changed
from inference.registry.publishing import publish_on_commit


@receiver([tokens_changed, isolation_changed])
def publish_changes(**_: Any) -> None:
    publish_on_commit()
