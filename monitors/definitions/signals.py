"""Sent in the writing transaction when what windows are compared with, or looked at by, has changed."""

from django.dispatch import Signal

reference_ready = Signal()  # reference
expectations_changed = Signal()  # model
segments_changed = (
    Signal()
)  # model, and `which` (a Q over the column `segment`) has other rows now, if any has
segments_dropped = Signal()  # model, which
