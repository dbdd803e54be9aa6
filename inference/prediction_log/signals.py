"""Sent inside the writing transaction: the monitors listen and enqueue tasks."""

from django.dispatch import Signal

periods_touched = Signal()  # model_id
requests_counted = Signal()  # model_id, hours
days_changed = Signal()  # model, days: of rows that the summaries count, or of their labels
days_dropped = Signal()  # model, days: of rows that left the log, though not by age
rows_erased = Signal()  # chunk; erased: a LogFrame of rows that the summaries count
