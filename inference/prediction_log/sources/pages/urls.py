"""The routes of the pages of sources."""

from django.urls import path

from inference.prediction_log.sources.pages import sources

urlpatterns = [
    path("settings/sources", sources.sources, name="sources"),
    path("settings/sources/new", sources.new, name="source_new"),
    path("settings/sources/<int:pk>", sources.source, name="source"),
    path("settings/sources/<int:pk>/delete", sources.delete, name="source_delete"),
    path("settings/sources/<int:pk>/dead-letters", sources.dead_letters, name="dead_letters"),
    path("settings/sources/<int:pk>/dead-letters/discard", sources.discard, name="letters_discard"),
]
