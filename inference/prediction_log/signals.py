"""Sent inside the writing transaction: the monitors listen and ring a worker."""

from django.dispatch import Signal

periods_touched = Signal()  # model_id
