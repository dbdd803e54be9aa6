import pytest

from monitors.metrics.answers.reliability import is_unreliable


@pytest.mark.parametrize(("covered", "judged"), [(2, 5), (6, 10), (15, 20), (24, 30)])
def test_as_many_as_chance_allows_are_still_reliable_and_one_fewer_are_not(covered, judged):
    assert is_unreliable(covered, judged)
    assert not is_unreliable(covered + 1, judged)


def test_four_windows_prove_nothing():
    assert not is_unreliable(0, 4)
