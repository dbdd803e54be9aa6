from django.apps import AppConfig


class MonitorsConfig(AppConfig):
    name = "monitors"

    def ready(self) -> None:
        from django.conf import settings

        # They connect the monitors to the signals and hooks of earlier stages.
        from monitors import log_receivers  # noqa: F401

        if settings.HAS_PAGES:
            from monitors import receivers  # noqa: F401
