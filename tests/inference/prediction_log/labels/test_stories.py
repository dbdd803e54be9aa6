"""Labels in any order, among predictions, corrections, packing, folding and expiry, end as a plain model says."""

import pytest

from driftline.operations.invariants import check_all
from inference.prediction_log.models import Label
from tests.worlds.label_stories import STEPS, Story, begin_story

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.mark.parametrize("seed", range(5))
def test_any_story_ends_as_the_plain_model_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    story = begin_story(Story, seed, monkeypatch)

    for _ in range(STEPS):
        story.step()

    story.check()
    story.close()
    story.check()
    broken = [result for result in check_all() if not result.holds]
    assert not [result for result in broken if "summar" not in result.statement]  # nobody summarises
    assert not Label.objects.filter(prediction_time__isnull=False).exists()
    assert story.folded
