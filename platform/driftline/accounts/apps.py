from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "driftline.accounts"
    label = "accounts"
    verbose_name = "People, projects and tokens"
