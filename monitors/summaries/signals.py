"""Sent inside the writing transaction, so that later stages can react without being imported here."""

from django.dispatch import Signal

windows_emptied = (
    Signal()
)  # model_id; role; windows (span, start, segment) that lost their last rows of the log
