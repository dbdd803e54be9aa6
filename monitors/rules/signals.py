"""Sent inside the judging transaction, so that workflows can go on without being imported here."""

from django.dispatch import Signal

model_judged = Signal()  # model
