"""The rows of the optimiser in the admin."""

from driftline.web.admin.reading import register
from monitors.optimiser.models import Optimisation, Variant

register(
    Optimisation,
    ("version", "state", "generation", "requested_by", "requested_at", "finished_at"),
    ("state",),
)
register(Variant, ("version", "kind", "status", "size", "machine", "made_at"), ("kind", "status"))
