"""What a page asked the database for."""

from django.db.models import Model
from django.test.utils import CaptureQueriesContext


def reads_of(table: type[Model], asked: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in asked if f'FROM "{table._meta.db_table}"' in query["sql"]]
