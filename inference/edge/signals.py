"""Sent inside the writing transaction, so that later stages can react without being imported here."""

from django.dispatch import Signal

release_aborted = Signal()  # release, actor
