"""Sent inside the writing transaction; the roof listens."""

from django.dispatch import Signal

work_failed = Signal()  # row: its work failed for good
