"""Sent inside the writing transaction, so that features can react without being imported here."""

from django.dispatch import Signal

run_ended = Signal()  # run
