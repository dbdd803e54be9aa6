"""What imports of files add to the product."""

from driftline.base.feature import ProductFeature
from driftline.base.work.long_work import leased_kind
from inference.prediction_log.imports.api import router
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import resumable_imports, resume_import

FEATURE = ProductFeature(
    "imports", routers=[router], long_work=[leased_kind(Import, resume_import, waiting=resumable_imports)]
)
