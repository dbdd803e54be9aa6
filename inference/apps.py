from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"

    def ready(self) -> None:
        from inference.registry import receivers  # noqa: F401  publishes the plan when tokens change
