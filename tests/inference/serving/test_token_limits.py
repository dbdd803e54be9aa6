"""A token that asks more than it, or its project, may gets a time to come again; others are not held up."""

from tests.inference.serving.running import Response, Server, request_bytes, rows_body

SUMS = "/v2/models/sums/infer"


def ask(server: Server, token: str, bodies: list[bytes], path: str = SUMS) -> list[Response]:
    headers = {"authorization": f"Bearer {token}"}
    with server.connect() as connection:
        connection.send(b"".join(request_bytes(path, body, headers=headers) for body in bodies))
        return [connection.receive() for _ in bodies]


def test_so_many_requests_a_second_are_answered_and_what_was_saved_up(server: Server) -> None:
    """One client's loop took the whole server: a token had no limit at all."""
    answers = ask(server, "dl_requests", [rows_body([1, 2, 3])] * 200)

    refused = [answer for answer in answers if answer.status == 429]
    assert [answer.status for answer in answers[:10]] == [200] * 10
    assert len(refused) > 100
    assert int(refused[0].headers["retry-after"]) >= 1
    assert "1 requests a second" in refused[0].json["error"]
    assert ask(server, "dl_infer", [rows_body([1, 2, 3])])[0].status == 200


def test_rows_are_paid_for_by_those_who_come_after(server: Server) -> None:
    many = rows_body(*[[1, 2, 3]] * 500)

    taken, refused = ask(server, "dl_rows", [many, rows_body([1, 2, 3])])

    assert (taken.status, refused.status) == (200, 429)
    assert int(refused.headers["retry-after"]) == 60  # the longest that anybody is told to wait


def test_all_tokens_of_a_project_share_its_quota_of_rows(server: Server) -> None:
    bounded, many = "/v2/models/bounded/infer", rows_body(*[[1, 2, 3]] * 500)

    taken, refused = ask(server, "dl_bounded", [many, rows_body([1, 2, 3])], bounded)
    [by_another] = ask(server, "dl_bounded_too", [rows_body([1, 2, 3])], bounded)

    assert (taken.status, refused.status, by_another.status) == (200, 429, 429)
    assert "This project has a quota of 1 rows a second" in by_another.json["error"]
    assert int(refused.headers["retry-after"]) == 60
    assert ask(server, "dl_infer", [rows_body([1, 2, 3])])[0].status == 200


def test_models_of_a_project_that_holds_as_much_as_it_may_answer_nothing(server: Server) -> None:
    [refused] = ask(server, "dl_full", [rows_body([1, 2, 3])], "/v2/models/full/infer")

    assert (refused.status, refused.json["error"]) == (429, "Four holds 2 bytes of a quota of 1 byte.")
    assert int(refused.headers["retry-after"]) == 60
