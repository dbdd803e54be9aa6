"""An address with NUL, which no name and no text in the database can have."""

import pytest
from django.test import Client

from inference.registry.models import Model


@pytest.mark.parametrize(
    "path",
    [
        "models/{name}/drift?segment=%00",
        "models/{name}/data.csv?metric=psi&feature=a%00",
        "models/{name}/data.csv?metric=psi&segment=%00",
        "incidents/?model=%00",
        "models/a%00/",
        "models/{name}/features/a%00",
    ],
)
def test_is_refused_in_words(client: Client, model: Model, path: str) -> None:
    answer = client.get("/" + path.format(name=model.name))

    assert answer.status_code in (400, 404)
    assert answer.status_code == 404 or "leave it out" in answer.text
