"""What the History page of a row shows."""

from typing import Any

from django.test import Client
from django.urls import reverse


def history_of(client: Client, row: Any) -> Any:
    meta = row._meta
    return client.get(reverse(f"admin:{meta.app_label}_{meta.model_name}_history", args=[row.pk]))


def actions_of(client: Client, row: Any) -> list[str]:
    return [entry.action for entry, _ in history_of(client, row).context["rows"]]
