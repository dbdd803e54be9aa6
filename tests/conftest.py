"""What every test shares: a home for the session, and a database and a broker started when first needed."""

import pytest

from tests.embedded import start_services, stop_services


def pytest_configure(config: pytest.Config) -> None:
    """With pytest-xdist the controller owns the services: they outlive the worker that needs them first."""
    if getattr(config.option, "dist", "no") != "no" and not config.option.collectonly:
        start_services()


def pytest_unconfigure(config: pytest.Config) -> None:
    stop_services()


@pytest.fixture(scope="session")
def services() -> None:
    """Have the session's database server and broker run."""
    start_services()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(services: None, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start the database server before pytest-django makes this worker's test database on it."""


@pytest.fixture(scope="session")
def broker_url(services: None) -> str:
    """The URL of the session's broker; its queues are shared, so name yours after the test."""
    from django.conf import settings

    return str(settings.CELERY_BROKER_URL)
