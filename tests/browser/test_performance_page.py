"""The performance page of several classes: every metric, class, bin and estimate is there, and fits a phone."""

from datetime import timedelta

import msgspec
import pytest

from driftline.base.periods import rfc3339
from inference.registry.services import create_model
from tests.browser.conftest import PHONE, WIDE, SignIn
from tests.browser.pictures import save_picture
from tests.worlds.animals import animals, tell_classes
from tests.worlds.approvals import DAY, label, log, work
from tests.worlds.drifted import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_classes_reliability_and_estimates_are_shown(width: int, sign_in: SignIn, world: World) -> None:
    zoo = create_model(
        project=world.project, name="zoo", task="multiclass", actor="test", objectives={"label_lag_hours": 0}
    )
    tell_classes(zoo)
    for number in range(3):
        rows, labels = animals(300, seed=10 + number)
        day = DAY + timedelta(days=number)
        log(
            zoo,
            [
                msgspec.structs.replace(
                    row, id=f"{number}-{row.id}", timestamp=rfc3339(day + timedelta(minutes=4 * i))
                )
                for i, row in enumerate(rows)
            ],
        )
        if number < 2:
            label(zoo, [msgspec.structs.replace(item, id=f"{number}-{item.id}") for item in labels])
    work(zoo)
    page = sign_in(width=width)

    page.goto("/models/zoo/performance")

    save_picture(page, "performance of several classes", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for heading in ("By class", "Confusion", "Estimated without labels"):
        assert page.get_by_role("heading", name=heading).is_visible()
    assert page.locator("#chart-reliability svg").bounding_box()["height"] > 150
    assert page.locator("#chart-accuracy .line.estimate").count() == 1
    assert page.get_by_role("row", name="bee").count() >= 2
