"""Checks that the servers that the end-to-end tests are to use answer, before any test runs.

    python -m tests.real_servers DATABASE_URL BROKER_URL...

Ends with 1 and a sentence for each server that does not answer.
"""

import sys

import psycopg2
from kombu import Connection

OLDEST_POSTGRES = 15


def database_problem(url: str) -> str | None:
    """Say what is wrong with the database server at `url`, None when nothing is."""
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.OperationalError as error:
        return (
            f"PostgreSQL does not answer at {url} ({str(error).strip()}); "
            "start it or set DRIFTLINE_TEST_DATABASE_URL."
        )
    major = connection.server_version // 10_000
    connection.close()
    if major < OLDEST_POSTGRES:
        return f"PostgreSQL at {url} has version {major}; use {OLDEST_POSTGRES} or later."
    return None


def broker_problem(url: str) -> str | None:
    """Say what is wrong with the broker at `url`, None when nothing is."""
    try:
        with Connection(url, connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except Exception as error:  # each transport raises its own kinds
        return (
            f"The broker does not answer at {url} ({error}); start it or set "
            "DRIFTLINE_TEST_RABBITMQ_URL or DRIFTLINE_TEST_REDIS_URL."
        )
    return None


def main(database: str, *brokers: str) -> int:
    """Print what is wrong and give the exit code."""
    problems = [database_problem(database), *map(broker_problem, brokers)]
    for problem in filter(None, problems):
        print(problem, file=sys.stderr)
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
