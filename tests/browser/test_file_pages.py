"""A newcomer's file in a real browser: previewed, mapped and confirmed, wide and narrow, with scripts and without."""

from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from inference.prediction_log.imports.models import Import, UploadedFile
from tests.browser.conftest import PHONE, WIDE, SignIn
from tests.browser.pictures import save_picture
from tests.worlds.drifted import World

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "approvals of march.csv"
    lines = ["application_id;approved;income;region;date"]
    lines += [
        f"A{n:04d};{n % 3 // 2};{900 + n * 7},5;{'north' if n % 2 else 'south'};{n % 28 + 1:02d}.01.2026 10:00"
        for n in range(60)
    ]
    path.write_text("\n".join(lines), encoding="utf-16")
    return path


AXE = (Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js").read_text()


def serious_faults(page: Page) -> list[str]:
    """What axe finds in a page that is serious or worse."""
    page.evaluate(AXE)
    violations = page.evaluate("axe.run().then(result => result.violations)")
    return [one["id"] for one in violations if one["impact"] in ("serious", "critical")]


def is_sideways(page: Page, width: int) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") > width)


@pytest.mark.parametrize(("width", "scripts"), [(WIDE, True), (PHONE, False)])
def test_a_file_is_looked_at_mapped_and_confirmed(
    width: int, scripts: bool, sign_in: SignIn, world: World, file: Path
) -> None:
    page = sign_in(width=width, scripts=scripts)
    page.goto(reverse("import", args=[world.model.name]))
    page.set_input_files("[name=file]", file)
    page.click("main form button >> text=Upload")
    expect(page.locator("h2 >> text=as they will be stored")).to_be_visible()
    save_picture(page, "file preview", width)
    assert not is_sideways(page, width)
    assert not scripts or serious_faults(page) == []

    page.select_option("#id_kind", "predictions")
    page.get_by_label("approved", exact=True).select_option("prediction")
    page.fill("#id_time_zone", "Europe/Berlin")
    page.click("text=Show again with these")
    expect(page.get_by_role("cell", name="2026-01-01T09:00:00Z").first).to_be_visible()
    save_picture(page, "file preview chosen", width)
    page.click("text=Confirm and store")
    expect(page.locator("main")).to_contain_text("was taken and is being imported")
    save_picture(page, "import", width)

    assert not is_sideways(page, width)
    assert Import.objects.get().file_name == file.name
    assert not UploadedFile.objects.filter(confirmed_at=None).exists()


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_what_a_deletion_takes_along_is_shown(width: int, sign_in: SignIn, world: World) -> None:
    page = sign_in(width=width)
    for route in ("model_settings", "model_delete", "reference"):
        page.goto(reverse(route, args=[world.model.name]))
        save_picture(page, route, width)
        assert not is_sideways(page, width)
        assert serious_faults(page) == []
