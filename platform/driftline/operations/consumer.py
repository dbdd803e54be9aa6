"""The part of a Celery worker that listens to the broker."""

import logging

from celery.worker.consumer import Consumer as CeleryConsumer

log = logging.getLogger(__name__)


class Consumer(CeleryConsumer):
    """Connects anew whatever a broken connection does when it is closed.

    Celery lets only errors of the network pass there. Kombu has been seen to raise others where the broker died with a
    message on its way: the worker then stops for good and waits for its own pool, so that nobody starts it again.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except Exception:
            log.warning("the broken connection to the broker could not be closed", exc_info=True)
        self.connection = None
