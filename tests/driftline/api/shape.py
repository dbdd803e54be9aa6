"""The one shape that every failure has (RFC 9457)."""

import re
from http import HTTPStatus
from typing import Any


def assert_problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """Check an answer against the one shape and give its body."""
    assert answer.status_code == status, answer.content[:500]
    assert answer["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) - {"retry_after"} == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "errors",
    }
    assert problem["status"] == status
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["instance"] == answer["X-Request-Id"]
    assert problem["type"].endswith(f"#{problem['code']}")
    assert re.fullmatch("[a-z]+(_[a-z]+)*", problem["code"])
    assert 10 < len(problem["detail"]) < 400
    for fault in problem["errors"]:
        assert set(fault) == {"pointer", "code", "detail"}
        assert fault["pointer"] == "" or fault["pointer"].startswith("/")
    assert (status == 401) == ("WWW-Authenticate" in answer and status != 403)
    if code is not None:
        assert problem["code"] == code, problem
    return problem
