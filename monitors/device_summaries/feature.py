"""What summaries of devices add to the product."""

from driftline.base.feature import ProductFeature
from monitors.device_summaries.api import router

FEATURE = ProductFeature("device_summaries", routers=[router])
