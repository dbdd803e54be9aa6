from django.apps import AppConfig


class DriftlineConfig(AppConfig):
    name = "driftline"
    label = "driftline"
    verbose_name = "Driftline"

    def ready(self) -> None:
        from monitors.alerts import services as alerts
        from monitors.workflows.selectors import describe_ongoing

        alerts.describe_ongoing = describe_ongoing  # alerts and workflows do not know each other

        from driftline import celery, checks  # noqa: F401  names the broker that doorbells ring; registers the checks
