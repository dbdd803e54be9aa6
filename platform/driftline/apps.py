from django.apps import AppConfig


class DriftlineConfig(AppConfig):
    name = "driftline"
    label = "project"

    def ready(self) -> None:
        from celery.signals import task_prerun
        from django.conf import settings
        from django.core.signals import request_started

        from driftline.base.keys.secret_keys import follow_secret_keys

        request_started.connect(follow_secret_keys)
        task_prerun.connect(follow_secret_keys)
        from driftline import celery  # noqa: F401  configures the broker of tasks
        from driftline.base.feature import connect_to_log, install

        connect_to_log()
        if not settings.HAS_PAGES:
            return
        from monitors.alerts import hooks
        from monitors.alerts.sending.questions import ask_webhook, webhook_names
        from monitors.workflows import hooks as workflow_hooks
        from monitors.workflows.selectors import describe_ongoing

        install()

        # Alerts and workflows do not know each other.
        hooks.describe_ongoing.provide(describe_ongoing)
        workflow_hooks.list_webhooks.provide(webhook_names)
        workflow_hooks.ask_webhook.provide(ask_webhook)

        # They register the checks, and audit work that fails.
        from driftline import checks  # noqa: F401
