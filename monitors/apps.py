from django.apps import AppConfig


class MonitorsConfig(AppConfig):
    name = "monitors"

    def ready(self) -> None:
        from monitors import receivers  # noqa: F401  connects the monitors to the signals and hooks of earlier stages
