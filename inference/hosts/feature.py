"""What serving hosts add to the product."""

from driftline.base.feature import ProductFeature
from inference.hosts import receivers  # noqa: F401  they connect hosts to the erasure of subjects
from inference.hosts.health import findings
from inference.hosts.host_api import router

FEATURE = ProductFeature("hosts", routers=[router], findings=findings)
