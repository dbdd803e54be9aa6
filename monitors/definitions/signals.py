"""Sent when what windows are compared with has changed."""

from django.dispatch import Signal

reference_ready = Signal()  # reference
expectations_changed = Signal()  # model
