"""The backend that `DATABASES` names."""

from typing import Any

from django.db.backends.postgresql import base

from driftline.common.database.watch import WATCH

CONNECT_SECONDS = 1  # for a request, which is answered within two seconds where the database stands still
STATEMENT_SECONDS = 60  # of a request; workers take what a task may


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL, whose connections the process' watch knows."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        WATCH.refuse_while_silent()
        if WATCH.is_watching:
            conn_params = conn_params | {"connect_timeout": CONNECT_SECONDS}
        connection = super().get_new_connection(conn_params)
        WATCH.follow(connection)
        return connection

    def init_connection_state(self) -> None:
        super().init_connection_state()
        if WATCH.is_watching:
            with self.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
