"""The routes of the pages of reports."""

from django.urls import path

from monitors.reports.pages import reports

urlpatterns = [
    path("models/<name>/reports", reports.reports, name="reports"),
    path("models/<name>/reports/<int:pk>", reports.report, name="report"),
    path("models/<name>/reports/<int:pk>/view", reports.view, name="report_view"),
    path("models/<name>/reports/<int:pk>/delete", reports.delete, name="report_delete"),
]
