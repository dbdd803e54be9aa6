"""Makes the tables of an initial migration at once.

Django renders every model that a table refers to anew after each operation: ten seconds of processor time for a hundred
tables, of which a new installation and each new database of tests wait.
"""

from collections.abc import Sequence

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddConstraint, AddField, AddIndex, CreateModel
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


def at_once(operations: Sequence[Operation]) -> list[Operation]:
    """Put the operations that begin an initial migration, up to the first that is of another kind, into one."""
    kinds = CreateModel, AddField, AddIndex, AddConstraint
    first = next(
        (place for place, one in enumerate(operations) if not isinstance(one, kinds)), len(operations)
    )
    return [_TablesAtOnce(operations[:first]), *operations[first:]]


class _TablesAtOnce(Operation):
    """Makes each table as the last of these operations leaves it, with its columns, indexes and constraints."""

    reversible = False

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        state.__dict__.pop("apps", None)  # rendered again, with the new models, when somebody asks for them
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        for table in self._tables:
            table.database_forwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        return f"Make {len(self._tables)} tables"

    @property
    def _tables(self) -> list[CreateModel]:
        return [operation for operation in self.operations if isinstance(operation, CreateModel)]
