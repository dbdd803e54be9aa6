"""What versions that are pulled from an address add to the product."""

from collections.abc import Iterator

from driftline.base.accounts.models import Project
from driftline.base.feature import ProductFeature
from driftline.base.work.long_work import leased_kind
from monitors.workflows.pulls.api import router
from monitors.workflows.pulls.models import Pull
from monitors.workflows.pulls.pulling import do_pull


def _active_work(project: Project) -> Iterator[str]:
    for pull in Pull.objects.filter(model__project=project).unfinished().order_by("pk"):
        yield f"the {pull}"


FEATURE = ProductFeature(
    "pulls",
    routers=[router],
    pages="monitors.workflows.pulls.pages.urls",
    admin="monitors.workflows.pulls.pages.admin",
    long_work=[leased_kind(Pull, do_pull)],
    active_work=_active_work,
)
