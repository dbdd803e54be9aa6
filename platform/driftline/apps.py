from django.apps import AppConfig


class DriftlineConfig(AppConfig):
    name = "driftline"
    label = "driftline"
    verbose_name = "Driftline"

    def ready(self) -> None:
        from monitors.alerts import hooks
        from monitors.workflows.selectors import describe_ongoing

        hooks.describe_ongoing.provide(describe_ongoing)  # alerts and workflows do not know each other

        # They configure the broker of tasks, register the checks, and audit work that fails.
        from driftline import celery, checks, long_work  # noqa: F401
