from django.apps import AppConfig


class DriftlineConfig(AppConfig):
    name = "driftline"
    label = "driftline"
    verbose_name = "Driftline"

    def ready(self) -> None:
        from driftline import checks  # noqa: F401  registers the system checks
