"""From a key that is pinned, statements lead forward alone, and only where that key has signed them."""

from collections.abc import Callable

import pytest

from driftline.base.keys.key_succession import Pin, Succession, SuccessionStatement, follow, succeed
from driftline.base.keys.signing import public_text, sign, signing_key
from driftline_agent.server import key_succession
from driftline_agent.server.identity import Identity

FIRST, SECOND, THIRD, THIEF = (signing_key(name, "test") for name in ("first", "second", "third", "thief"))


def on_a_host(pin: Pin, statements: list[SuccessionStatement]) -> Pin:
    return follow(pin, statements)


def on_a_device(pin: Pin, statements: list[SuccessionStatement]) -> Pin:
    identity = Identity("", "", "", "", pin.key, 0, pin.number)
    sent = [key_succession.Statement(one.statement, one.signature) for one in statements]
    reached = key_succession.follow(identity, sent)
    return Pin(reached.public_key, reached.key_number)


@pytest.fixture(params=[on_a_host, on_a_device])
def lead(request: pytest.FixtureRequest) -> Callable[..., Pin]:
    """Where statements lead from a key; hosts and devices have code of their own for it."""

    def lead(pin: Pin, *found: Succession) -> Pin:
        return request.param(pin, [one.statement for one in found])  # type: ignore[no-any-return]

    return lead


class TestAKeyThatIsPinned:
    def test_leads_over_all_its_successors_at_once(self, lead: Callable[..., Pin]) -> None:
        chain = [succeed(FIRST, SECOND, 1), succeed(SECOND, THIRD, 2)]

        assert lead(Pin(public_text(FIRST)), *chain) == Pin(public_text(THIRD), 2)
        assert lead(Pin(public_text(SECOND), 1), *chain) == Pin(public_text(THIRD), 2)
        assert lead(Pin(public_text(THIRD), 2), *chain) == Pin(public_text(THIRD), 2)

    def test_leads_to_no_key_that_another_one_named(self, lead: Callable[..., Pin]) -> None:
        pin = Pin(public_text(FIRST))

        assert lead(pin, succeed(THIEF, SECOND, 1)) == pin
        assert lead(pin, succeed(SECOND, THIRD, 2)) == pin

    def test_leads_never_back(self, lead: Callable[..., Pin]) -> None:
        """Not by a statement that was played again, nor by one of a key that was used twice."""
        pin = Pin(public_text(SECOND), 2)

        assert lead(pin, succeed(FIRST, SECOND, 1)) == pin
        assert lead(pin, succeed(SECOND, FIRST, 1), succeed(SECOND, FIRST, 2)) == pin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "driftline key succession 1 ",
        "driftline key succession 0 " + public_text(SECOND),
        "driftline key succession -1 " + public_text(SECOND),
        "driftline key succession 9999999999 " + public_text(SECOND),
        "driftline key succession 1 " + public_text(SECOND) + "\n",
        " driftline key succession 1 " + public_text(SECOND),
        "driftline key succession 1 " + "A" * 44,
        "driftline key succession \u0661 " + public_text(SECOND),
    ],
)
@pytest.mark.parametrize("follower", [on_a_host, on_a_device])
def test_a_signed_text_that_is_no_statement_leads_nowhere(text: str, follower: Callable[..., Pin]) -> None:
    pin = Pin(public_text(FIRST))

    assert follower(pin, [SuccessionStatement(text, sign(FIRST, text.encode()))]) == pin


@pytest.mark.parametrize("signature", ["", "x", "!!!!", "AAAA", "\u00e9"])
@pytest.mark.parametrize("follower", [on_a_host, on_a_device])
def test_a_statement_without_a_signature_leads_nowhere(signature: str, follower: Callable[..., Pin]) -> None:
    pin = Pin(public_text(FIRST))
    unsigned = SuccessionStatement(succeed(FIRST, SECOND, 1).statement.statement, signature)

    assert follower(pin, [unsigned]) == pin
