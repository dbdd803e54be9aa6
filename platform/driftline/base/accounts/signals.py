"""Sent inside the writing transaction; the registry listens and publishes the serving plan."""

from django.dispatch import Signal

tokens_changed = Signal()
isolation_changed = Signal()  # project
project_archived = Signal()  # project
project_restored = Signal()  # project, archived_at: since when it was archived
