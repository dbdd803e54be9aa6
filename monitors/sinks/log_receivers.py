"""Connects sinks to the log, which notes what is to be sent of the rows that it stores."""

from inference.prediction_log.storage import hooks
from monitors.sinks.models import is_sent_by_sink

hooks.is_sent_by_sink.provide(is_sent_by_sink)
