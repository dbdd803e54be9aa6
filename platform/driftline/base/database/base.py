"""The backend that `DATABASES` names."""

from typing import Any

from django.db.backends.postgresql import base

from driftline.base.database.watch import REPLICA_WATCH, WATCH, DatabaseWatch

REPLICA = "replica"  # name of the standby in `DATABASES`
CONNECT_SECONDS = 1  # for a request, which is answered within two seconds where the database stands still
STATEMENT_SECONDS = 60  # of a request; workers take what a task may


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL, whose connections the process' watch knows."""

    @property
    def _watch(self) -> DatabaseWatch:
        return REPLICA_WATCH if self.alias == REPLICA else WATCH

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._watch.refuse_while_silent()
        if self._watch.is_watching:
            conn_params = conn_params | {"connect_timeout": CONNECT_SECONDS}
        connection = super().get_new_connection(conn_params)
        self._watch.follow(connection)
        return connection

    def init_connection_state(self) -> None:
        super().init_connection_state()
        if self._watch.is_watching:
            with self.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
