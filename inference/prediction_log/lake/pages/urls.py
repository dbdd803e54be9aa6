"""The routes of the lake's pages."""

from django.urls import path

from inference.prediction_log.lake.pages import lake

urlpatterns = [
    path("settings/lake", lake.lake, name="lake"),
    path("settings/lake/stop", lake.stop, name="lake_stop"),
]
