"""The gateway passes on what agents ask, and no other route."""

import re

from inference.edge import agent_api
from inference.edge.nats_gateway import is_passed_on
from monitors.device_summaries import api as device_summaries

EXAMPLES = {"sha256": "a" * 64}


def routes_of_agents() -> list[tuple[str, str]]:
    """List the methods and paths of the API that let agents in."""
    return [
        (method, "/api/v1" + re.sub(r"\{(\w+)\}", lambda name: EXAMPLES[name[1]], path))
        for router in (agent_api.router, device_summaries.router)
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    ]


def test_every_route_of_agents_is_passed_on() -> None:
    routes = routes_of_agents()

    assert len(routes) >= 8
    assert [route for route in routes if not is_passed_on(*route)] == []
    assert is_passed_on("POST", "/v2/models/fuel%20use/infer")
