"""Sent inside the writing transaction; the roof listens."""

from django.dispatch import Signal

work_failed = Signal()  # row, whose work failed for good
