"""Refuses our own webhooks, under whatever name they reach us: an alert that causes an alert would never end."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from driftline.base.errors import Problem
from driftline.base.http.problems import problem_response
from driftline.base.outbound.transport import HOP_HEADER


class RefuseHops:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if HOP_HEADER in request.headers:
            detail = "A Driftline sent this as a webhook; give its channel the address of another program."
            return problem_response(request, Problem(508, "loop_detected", detail))
        return self.get_response(request)
