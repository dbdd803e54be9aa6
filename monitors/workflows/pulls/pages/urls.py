"""The route of the page of pulls."""

from django.urls import path

from monitors.workflows.pulls.pages import pulls

urlpatterns = [path("models/<name>/pulls", pulls.pulls, name="pulls")]
