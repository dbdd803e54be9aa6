"""Connects serving hosts to the erasure of subjects, which waits for their spools."""

from inference.hosts.models import ServingHost
from inference.prediction_log.erasure.hooks import HostSpools, list_host_spools


def spools_of_hosts() -> list[HostSpools]:
    """Return how far the spools of each host were written when it was last heard of."""
    return [
        HostSpools(host.name, host.last_seen_at, host.spool_ends)
        for host in ServingHost.objects.active().order_by("name")
    ]


list_host_spools.provide(spools_of_hosts)
