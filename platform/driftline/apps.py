from django.apps import AppConfig


class DriftlineConfig(AppConfig):
    name = "driftline"
    label = "driftline"
    verbose_name = "Driftline"

    def ready(self) -> None:
        from monitors.alerts import services as alerts
        from monitors.workflows.selectors import describe_ongoing

        alerts.describe_ongoing = describe_ongoing  # alerts and workflows do not know each other

        # They name the broker that doorbells ring, register the checks, and audit work that fails.
        from driftline import celery, checks, long_work  # noqa: F401
