"""Sent inside the transaction that judges or deletes, so that later stages can go on without being imported here."""

from django.dispatch import Signal

model_judged = Signal()  # model
rule_deleted = Signal()  # rule, actor; before its rows are deleted
