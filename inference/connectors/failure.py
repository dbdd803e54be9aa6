"""What is raised where a server of others cannot be used."""


class ConnectorFailed(Exception):
    """A stream or a store cannot be used now; the text says why. Whoever uses it tries again after a while."""
