"""The optimiser's table on a version's page."""

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from inference.registry.models import Version
from monitors.optimiser.models import Optimisation, Variant
from monitors.optimiser.work import resume_optimisation
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.monitors.optimiser.conftest import only  # noqa: F401  used by name
from tests.worlds.stumps import BUSY, IDLE, log, make_version

pytestmark = pytest.mark.slow

PAGE = "/p/bank/models/stumps/versions/1"


@pytest.fixture
def version(project: Project) -> Version:
    return make_version(project, IDLE)


def text(client: Client, path: str = PAGE) -> str:
    return markup(client.get(path))


def test_an_editor_asks_for_it_and_follows_how_far_it_is(client: Client, version: Version) -> None:
    before = text(client)
    client.post(f"{PAGE}/variants")
    Variant.objects.create(
        version=version, kind="fp16", generation=1, status="not_applicable", reason="No weights.", machine="m"
    )
    under_way = text(client)

    assert "Nobody has asked yet what it would gain" in before
    assert ">Optimise</button>" in before
    assert f'hx-get="{PAGE}/variants?part=variants"' in under_way
    assert "Building and measuring: 11%" in under_way
    assert "Optimise again" not in under_way
    assert "No weights." in text(client, f"{PAGE}/variants?part=variants")


def test_a_viewer_reads_it_and_has_no_buttons(project: Project, version: Version) -> None:
    Variant.objects.create(
        version=version, kind="fp16", generation=1, status="gain", reason="Smaller.", size=1, machine="m"
    )
    viewer = viewer_of(project)

    page = text(viewer)

    assert "Smaller." in page
    assert "<button" not in page.partition('id="variants"')[2].partition("</section>")[0]
    assert viewer.post(f"{PAGE}/variants").status_code == 403
    assert not Optimisation.objects.exists()


def test_a_gain_becomes_a_version_with_one_click(client: Client, version: Version, only: object) -> None:  # noqa: F811
    only("trees_25")  # type: ignore[operator]
    log(version, IDLE)
    client.post(f"{PAGE}/variants")
    resume_optimisation(version.optimisation.pk)
    table = text(client)

    answer = client.post(f"{PAGE}/variants", {"register": "trees_25"}, follow=True)

    assert "First quarter of the trees" in table
    assert "Compared on 160 ripe rows of the log" in table
    assert answer.redirect_chain[-1][0] == "/p/bank/models/stumps/versions/2"
    assert "Version 2 is added; it answers nobody until it is deployed." in markup(answer)
    assert '<a href="/p/bank/models/stumps/versions/2">Version 2</a>' in text(client)


def test_what_was_refused_has_its_cause_and_no_button(client: Client, project: Project) -> None:
    version = make_version(project, BUSY)
    Variant.objects.create(
        version=version,
        kind="fp16",
        generation=1,
        status="refused",
        reason="It is slower.",
        size=1,
        machine="m",
    )

    table = text(client)
    answer = client.post(f"{PAGE}/variants", {"register": "fp16"}, follow=True)

    assert "It is slower." in table
    assert "Make it a version" not in table
    assert "The variant fp16 cannot become a version." in markup(answer)
