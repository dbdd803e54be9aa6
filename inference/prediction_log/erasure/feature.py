"""What erasures add to the product."""

from driftline.base.feature import ProductFeature
from driftline.base.work.long_work import leased_kind
from inference.prediction_log.erasure.api import router
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import resumable_erasures, resume_erasure

FEATURE = ProductFeature(
    "erasure",
    routers=[router],
    long_work=[
        leased_kind(
            Erasure, resume_erasure, project="project", waiting=resumable_erasures, while_archived=True
        )
    ],
)
