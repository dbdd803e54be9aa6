"""Sent in the transaction that records an event, so that messages about it are written with it."""

from django.dispatch import Signal

event_recorded = Signal()  # event: a FeedEvent
