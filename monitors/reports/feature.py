"""What reports and evidence packs add to the product."""

from driftline.base.feature import PageLink, ProductFeature
from driftline.base.work.long_work import leased_kind
from monitors.reports.api import router
from monitors.reports.building import build, reports_to_build
from monitors.reports.models import Report
from monitors.reports.services import forget_old_reports

FEATURE = ProductFeature(
    "reports",
    routers=[router],
    pages="monitors.reports.pages.urls",
    tabs=[PageLink("reports", "Reports")],
    admin="monitors.reports.pages.admin",
    tidy=[forget_old_reports],
    long_work=[leased_kind(Report, build, waiting=reports_to_build)],
)
