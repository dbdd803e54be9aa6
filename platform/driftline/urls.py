"""Every route of the Django side."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

from driftline.api import v1
from driftline.api.front import health
from driftline.operations.observability.metrics import metrics
from driftline.operations.observability.model_metrics import model_metrics
from driftline.sign_in import one_door
from driftline.web.documentation.views import documentation
from driftline.web.pages.account.digest import digest, digest_unsubscribe
from driftline.web.pages.account.display import display
from driftline.web.pages.account.joining import invitation
from driftline.web.pages.account.profile import own_token, profile
from driftline.web.pages.project.projects import project_list

urlpatterns = [
    path("api/v1/", v1.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("scim/v2/", include("driftline.sign_in.directory.views")),
    path("metrics", metrics, name="metrics"),
    path("metrics/models", model_metrics, name="model_metrics"),
    path("docs/", documentation, {"path": "index.html"}),
    path("docs/<path:path>", documentation),
    path("admin/login/", one_door.admin_login),
    path("admin/password_change/", one_door.admin_password_change),
    path("admin/", admin.site.urls),
    path("accounts/display/", display, name="display"),
    path("accounts/digest/", digest, name="digest"),
    path("accounts/digest/unsubscribe/<token>/", digest_unsubscribe, name="digest_unsubscribe"),
    path("accounts/profile/", profile, name="profile"),
    path("accounts/profile/tokens/<int:pk>/", own_token, name="own_token"),
    path("accounts/projects/", project_list, name="projects"),
    path("accounts/invitations/<token>/", invitation, name="invitation"),
    path("accounts/", include("allauth.urls")),
]
if find_spec("driftline.web.pages.urls"):
    urlpatterns.append(path("", include("driftline.web.pages.urls")))

handler400 = "driftline.base.http.problems.bad_request"
handler403 = "driftline.base.http.problems.permission_denied"
handler404 = "driftline.base.http.problems.page_not_found"
handler500 = "driftline.base.http.problems.server_error"
