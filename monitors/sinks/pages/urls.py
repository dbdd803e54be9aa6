"""The routes of the sink's pages."""

from django.urls import path

from monitors.sinks.pages import sink

urlpatterns = [
    path("settings/sink", sink.sink, name="sink"),
    path("settings/sink/stop", sink.stop, name="sink_stop"),
]
