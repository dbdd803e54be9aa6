from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "driftline.operations"
    label = "driftline"
    verbose_name = "Driftline"
