from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "driftline.base.accounts"
    label = "accounts"
    verbose_name = "People, projects and tokens"

    def ready(self) -> None:
        from django.conf import settings

        if settings.HAS_PAGES:
            from driftline.base.accounts.audit import sign_ins as sign_in_audit  # noqa: F401  connects its receivers
