"""Sent inside the writing transaction: the monitors listen and ring a worker."""

from django.dispatch import Signal

periods_touched = Signal()  # model_id
requests_counted = Signal()  # model_id, hours
rows_erased = Signal()  # chunk, lost: the LogFrame of rows that summaries count and an erasure takes
