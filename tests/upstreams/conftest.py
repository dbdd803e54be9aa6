from collections.abc import Iterator

import pytest

from tests.flows.installation.conftest import home_of_its_own, installation, tell
from tests.upstreams.servers import Upstream, mlserver, torchserve

__all__ = ["home_of_its_own", "installation", "tell"]


@pytest.fixture(scope="session", params=[mlserver, torchserve], ids=["MLServer", "TorchServe"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Each server in turn; one of them runs at a time."""
    made: Upstream = request.param(tmp_path_factory.mktemp("upstream"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def upstream(server: Upstream) -> Upstream:
    """The server, up and answering, whatever the test before did to it."""
    server.start()
    return server
