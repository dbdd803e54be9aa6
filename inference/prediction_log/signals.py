"""Sent inside the writing transaction: the monitors listen and enqueue tasks."""

from django.dispatch import Signal

periods_touched = Signal()  # model_id
requests_counted = Signal()  # model_id, hours
rows_erased = Signal()  # chunk; erased: a LogFrame of rows that the summaries count
