"""Signals that are sent inside the writing transaction; the top layer of `driftline` receives them."""

from django.dispatch import Signal

work_failed = Signal()  # row: its work failed for good
