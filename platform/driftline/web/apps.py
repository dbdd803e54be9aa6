from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "driftline.web"
    label = "web"
