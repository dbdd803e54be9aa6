"""What annotations add to the product."""

from driftline.base.feature import ProductFeature
from monitors.annotations.api import router

FEATURE = ProductFeature("annotations", routers=[router])
