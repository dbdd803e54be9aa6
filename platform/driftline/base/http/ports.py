"""On which ports this server listens."""


def grpc_port_beside(port: int, chosen: int | None) -> int | None:
    """Return the port of gRPC beside a web server's; None where it is turned off."""
    return (port + 1 if chosen is None else chosen) or None
