"""What the optimiser adds to the product."""

from driftline.base.feature import PagePart, ProductFeature
from driftline.base.work.long_work import leased_kind
from monitors.optimiser.api import router
from monitors.optimiser.models import Optimisation
from monitors.optimiser.table import table_of
from monitors.optimiser.work import resume_optimisation

FEATURE = ProductFeature(
    "optimiser",
    routers=[router],
    pages="monitors.optimiser.pages.urls",
    version_part=PagePart("features/optimiser/variants.html", table_of),
    admin="monitors.optimiser.pages.admin",
    long_work=[leased_kind(Optimisation, resume_optimisation, project="version__model__project")],
)
