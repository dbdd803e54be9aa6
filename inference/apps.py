from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"

    def ready(self) -> None:
        from django.conf import settings

        from inference.prediction_log import receivers as log_receivers  # noqa: F401

        if not settings.HAS_PAGES:  # a serving host stores rows, and changes nothing else
            return
        from inference.registry import receivers  # noqa: F401
