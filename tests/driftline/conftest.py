from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import override_settings


@pytest.fixture(autouse=True, scope="module")
def without_static_files() -> Iterator[None]:
    """Leave out whitenoise, which looks through every static file whenever a client is made."""
    with override_settings(MIDDLEWARE=[name for name in settings.MIDDLEWARE if "whitenoise" not in name]):
        yield
