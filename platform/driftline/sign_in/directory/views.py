"""The routes of /scim/v2: each finds out which provider calls, makes one call, and answers as SCIM says."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.db import IntegrityError
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from driftline.base.accounts.access.http_auth import refuse_token_in_url
from driftline.base.accounts.models import DirectoryGroup, User
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.http.responses import write_json
from driftline.base.strict_json import read_json
from driftline.sign_in.directory import descriptions, groups, people
from driftline.sign_in.directory.documents import (
    group_document,
    projected,
    read_group,
    read_user,
    user_document,
)
from driftline.sign_in.directory.listings import GROUP_FILTERS, LIST, USER_FILTERS, list_page
from driftline.sign_in.directory.refusals import DirectoryRefusal, no_such
from driftline.sign_in.directory.tokens import provider_of
from driftline.sign_in.single_sign_on.configuration import ProviderSettings

MAX_BODY_BYTES = 2 << 20
CONTENT_TYPE = "application/scim+json"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

type Answer = tuple[int, Any]


def _route(**methods: Callable[..., Answer]) -> Callable[..., HttpResponse]:
    """Make a view of one function a method, which gets the provider, the request and what the address names."""

    @csrf_exempt
    @wraps(next(iter(methods.values())))
    def view(request: HttpRequest, **named: Any) -> HttpResponse:
        try:
            refuse_token_in_url(request)
            provider = provider_of(request, now=now())
            method = methods.get(str(request.method).lower())
            if method is None:
                raise DirectoryRefusal(405, f"Use one of {', '.join(sorted(methods)).upper()} here.")
            status, document = method(provider, request, **named)
            location = (document or {}).get("meta", {}).get("location", "")
            document = _as_asked(document, request.GET)
        except DirectoryRefusal as refusal:
            status, document = refusal.status, _error(refusal.status, refusal.detail, refusal.scim_type)
        except IntegrityError:
            detail = "Another request made the same at this moment; look it up, and change that."
            status, document = 409, _error(409, detail, "uniqueness")
        except Problem as problem:
            status, document = problem.status, _error(problem.status, problem.detail, "invalidSyntax")
        response = HttpResponse(
            b"" if document is None else write_json(document), status=status, content_type=CONTENT_TYPE
        )
        if status == 401:
            response["WWW-Authenticate"] = 'Bearer realm="driftline"'
        elif status == 405:
            response["Allow"] = ", ".join(sorted(methods)).upper()
        elif status == 201:
            response["Location"] = location
        return response

    return view


def _as_asked(document: Any, asked: Mapping[str, str]) -> Any:
    """Leave out of a user, a group or a list of them what was not asked for."""
    if not isinstance(document, dict):
        return document
    if "Resources" in document:
        return document | {"Resources": [projected(one, asked) for one in document["Resources"]]}
    return projected(document, asked)


def _error(status: int, detail: str, scim_type: str) -> dict[str, str | list[str]]:
    kind = {"scimType": scim_type} if scim_type and status in (400, 409) else {}
    return {"schemas": [ERROR], "status": str(status), "detail": detail, **kind}


def _body(request: HttpRequest) -> dict[str, Any]:
    if int(request.headers.get("Content-Length") or 0) > MAX_BODY_BYTES or len(request.body) > MAX_BODY_BYTES:
        raise DirectoryRefusal(413, f"A body has at most {MAX_BODY_BYTES:,} bytes.")
    document = read_json(request.body)
    if not isinstance(document, dict):
        raise DirectoryRefusal(400, "The body is a JSON object.", "invalidSyntax")
    return document


# -- users -------------------------------------------------------------------------------------------------------------
def _list_users(provider: ProviderSettings, request: HttpRequest) -> Answer:
    groups_of_page = Prefetch(
        "directory_groups", DirectoryGroup.objects.filter(provider=provider.id).order_by("pk")
    )
    rows = people.users_of(provider).prefetch_related(groups_of_page)
    return 200, list_page(
        rows, request.GET, USER_FILTERS, lambda one: user_document(one, list(one.directory_groups.all()))
    )


def _create_user(provider: ProviderSettings, request: HttpRequest) -> Answer:
    return 201, _user(provider, people.create_user(provider, read_user(_body(request))))


def _get_user(provider: ProviderSettings, request: HttpRequest, user_id: int) -> Answer:
    return 200, _user(provider, people.get_user(provider, user_id))


def _replace_user(provider: ProviderSettings, request: HttpRequest, user_id: int) -> Answer:
    return 200, _user(provider, people.update_user(provider, user_id, read_user(_body(request))))


def _patch_user(provider: ProviderSettings, request: HttpRequest, user_id: int) -> Answer:
    return 200, _user(provider, people.patch_user(provider, user_id, _body(request)))


def _delete_user(provider: ProviderSettings, request: HttpRequest, user_id: int) -> Answer:
    people.remove_user(provider, user_id)
    return 204, None


def _user(provider: ProviderSettings, user: User) -> dict[str, Any]:
    groups_of_user = DirectoryGroup.objects.filter(provider=provider.id, members=user).order_by("pk")
    return user_document(user, list(groups_of_user))


# -- groups ------------------------------------------------------------------------------------------------------------
def _list_groups(provider: ProviderSettings, request: HttpRequest) -> Answer:
    return 200, list_page(
        groups.groups_of(provider), request.GET, GROUP_FILTERS, lambda one: group_document(one, request.GET)
    )


def _create_group(provider: ProviderSettings, request: HttpRequest) -> Answer:
    return 201, group_document(groups.create_group(provider, read_group(_body(request))), request.GET)


def _get_group(provider: ProviderSettings, request: HttpRequest, group_id: int) -> Answer:
    return 200, group_document(groups.get_group(provider, group_id), request.GET)


def _replace_group(provider: ProviderSettings, request: HttpRequest, group_id: int) -> Answer:
    return 200, group_document(
        groups.update_group(provider, group_id, read_group(_body(request))), request.GET
    )


def _patch_group(provider: ProviderSettings, request: HttpRequest, group_id: int) -> Answer:
    return 200, group_document(groups.patch_group(provider, group_id, _body(request)), request.GET)


def _delete_group(provider: ProviderSettings, request: HttpRequest, group_id: int) -> Answer:
    groups.remove_group(provider, group_id)
    return 204, None


# -- descriptions ------------------------------------------------------------------------------------------------------
def _config(provider: ProviderSettings, request: HttpRequest) -> Answer:
    return 200, descriptions.service_provider_config()


def _described(listed: Callable[[], list[dict[str, Any]]]) -> Callable[..., Answer]:
    def answer(provider: ProviderSettings, request: HttpRequest, name: str = "") -> Answer:
        every = listed()
        if not name:
            return 200, {"schemas": [LIST], "totalResults": len(every), "Resources": every}
        one = next((one for one in every if one["id"] == name), None)
        if one is None:
            raise no_such("description")
        return 200, one

    return answer


def _nothing(provider: ProviderSettings, request: HttpRequest, rest: str) -> Answer:
    raise no_such("address")


_types, _schemas = _described(descriptions.resource_types), _described(descriptions.schemas)

urlpatterns = [
    path("ServiceProviderConfig", _route(get=_config)),
    path("ResourceTypes", _route(get=_types)),
    path("ResourceTypes/<str:name>", _route(get=_types)),
    path("Schemas", _route(get=_schemas)),
    path("Schemas/<str:name>", _route(get=_schemas)),
    path("Users", _route(get=_list_users, post=_create_user)),
    path(
        "Users/<int:user_id>",
        _route(get=_get_user, put=_replace_user, patch=_patch_user, delete=_delete_user),
    ),
    path("Groups", _route(get=_list_groups, post=_create_group)),
    path(
        "Groups/<int:group_id>",
        _route(get=_get_group, put=_replace_group, patch=_patch_group, delete=_delete_group),
    ),
    path("<path:rest>", _route(get=_nothing, post=_nothing, put=_nothing, patch=_nothing, delete=_nothing)),
]
