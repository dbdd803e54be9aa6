from django.apps import AppConfig


class MonitorsConfig(AppConfig):
    name = "monitors"

    def ready(self) -> None:
        from monitors import receivers  # noqa: F401  rings the first doorbell when predictions or labels arrive
