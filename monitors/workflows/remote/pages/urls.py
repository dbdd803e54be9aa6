"""The route of the page of a pipeline."""

from django.urls import path

from monitors.workflows.remote.pages import pipeline

urlpatterns = [path("models/<name>/pipeline", pipeline.pipeline, name="pipeline")]
