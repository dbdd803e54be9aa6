"""Every page in a real browser: wide and narrow, accessible, self-contained, and without scripts."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import ApiToken, Membership, Project
from driftline.base.accounts.services import record_audit
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.models import Incident
from monitors.rules.models import Rule
from monitors.workflows.models import Run
from tests.browser.accessibility import AXE, serious_faults
from tests.browser.conftest import PHONE, SCHEMES, WIDE, Scheme, SignIn
from tests.browser.pictures import save_picture
from tests.worlds.approvals import DAY, reference_csv, rows_of_a_day
from tests.worlds.drifted import World

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
]

FIRST_VIEW_BYTES = 300_000


class Witness:
    """Notes the hosts that a page calls and what goes wrong in it."""

    def __init__(self, page: Page) -> None:
        self.hosts: set[str] = set()
        self.faults: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "404" not in message.text:
            self.faults.append(message.text)


def size_of(page: Page) -> int:
    """Bytes of the page and all that it loaded, unpacked."""
    entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    return int(page.evaluate(f"{entries}.reduce((sum, entry) => sum + entry.decodedBodySize, 0)"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_pages_fit_load_nothing_from_elsewhere_and_raise_no_error(
    width: int, scheme: Scheme, sign_in: SignIn, world: World, live_server: Any
) -> None:
    page = sign_in(width=width, scheme=scheme)
    witness = Witness(page)
    sideways, heavy = [], {}

    for name, path in world.pages.items():
        page.goto(path)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            sideways.append(name)
        if size_of(page) > FIRST_VIEW_BYTES:
            heavy[name] = size_of(page)
        save_picture(page, f"{name} {scheme}", width)

    assert (sideways, heavy, witness.faults) == ([], {}, [])
    assert witness.hosts == {urlsplit(live_server.url).netloc}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious(scheme: Scheme, sign_in: SignIn, world: World) -> None:
    page = sign_in(scheme=scheme)
    found = {}

    for name, path in world.pages.items():
        page.goto(path)
        serious = serious_faults(page)
        if serious:
            found[name] = serious

    assert found == {}


class TestWithoutScripts:
    def test_an_incident_is_acknowledged_and_resolved(self, sign_in: SignIn, world: World) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["incident"])

        page.click("text=Acknowledge")
        assert Incident.objects.get().status == "acknowledged"
        page.click("text=Resolve by hand")

        assert Incident.objects.get().status == "resolved"

    def test_a_rule_is_previewed_made_changed_and_deleted(self, sign_in: SignIn, world: World) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["new rule"])
        page.fill("[name=name]", "region moved")
        page.fill("[name=feature]", "income")
        page.fill("[name=threshold]", "0.5")

        page.click("text=Preview")
        assert "would have fired 1 time" in page.inner_text("#backtest")
        page.click("text=Save")
        rule = Rule.objects.get(name="region moved")
        page.goto(f"/models/{world.model.name}/rules/{rule.pk}")
        page.fill("[name=threshold]", "0.75")
        page.click("text=Save")
        rule.refresh_from_db()
        assert rule.threshold == 0.75
        page.goto(f"/models/{world.model.name}/rules/{rule.pk}")
        page.click("text=Delete…")
        assert "Its incidents stay." in page.inner_text(".verdict >> nth=-1")
        page.click("text=Yes, delete it")

        assert not Rule.objects.filter(name="region moved").exists()

    def test_a_wrong_rule_is_explained_at_its_field(self, sign_in: SignIn, world: World) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["new rule"])
        page.fill("[name=name]", "nothing")

        page.click("text=Save")

        assert "name one, or use '*'" in page.inner_text(".field.wrong")

    def test_a_run_is_approved_after_its_effect_was_told(self, sign_in: SignIn, world: World) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["run"])

        page.click("text=Approve…")
        assert (
            "Version 2 will answer a share of the requests, which grows as its rollout plan says"
            in page.inner_text(".confirm")
        )
        page.click("text=Yes, approve")

        assert Run.objects.get().approved_by == world.owner.email

    def test_a_name_is_taken_from_a_version_after_its_effect_was_told(
        self, sign_in: SignIn, world: World
    ) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["versions"])

        page.click("#names >> text=Remove…")
        assert "stable will name no version any more" in page.inner_text(".verdict >> nth=-1")
        page.click("text=Yes, take it away")

        assert "No version has a name yet." in page.inner_text("#names")

    def test_a_version_that_is_held_back_is_let_in_again(self, sign_in: SignIn, world: World) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["versions"])

        page.click("text=lift its quarantine…")
        assert "harmed the serving processes 3 times" in page.inner_text(".verdict >> nth=-1")
        page.click("text=Yes, let it be loaded")

        assert "is lifted" in page.inner_text(".messages")

    def test_a_token_is_shown_once_and_revoked(self, sign_in: SignIn, world: World) -> None:
        page = sign_in(scripts=False)
        page.goto(world.pages["tokens"])
        page.fill("[name=name]", "checkout")

        page.click("text=Make a token >> nth=-1")
        text = page.inner_text("#secret")
        page.goto(world.pages["tokens"])
        assert text not in page.content()
        page.click("text=Revoke…")
        assert "is refused within a second" in page.inner_text(".verdict")
        page.click("text=Yes, revoke it")

        assert ApiToken.objects.get(name="checkout").revoked_at is not None

    def test_a_newcomer_adds_a_model_and_its_reference(
        self, sign_in: SignIn, world: World, tmp_path: Path
    ) -> None:
        page = sign_in(scripts=False)
        training = tmp_path / "training.csv"
        training.write_bytes(reference_csv(rows_of_a_day(DAY, 300)).getvalue())
        page.goto("/models/new")
        page.fill("[name=name]", "loans")

        page.click("main form >> text=Add")
        page.set_input_files("[name=file]", training)
        page.click("main form >> text=Upload")
        page.click("text=Confirm and store")

        assert "300 rows were stored" in page.inner_text(".messages")
        assert Model.objects.get(name="loans").references.count() == 1


class TestWithScripts:
    def test_plotly_comes_only_when_a_chart_is_zoomed(self, sign_in: SignIn, world: World) -> None:
        page = sign_in()
        witness = Witness(page)
        page.goto(world.pages["performance"])
        assert page.evaluate("window.Plotly") is None

        page.click("#chart-roc_auc .zoom")
        page.wait_for_selector("#chart-roc_auc .plotly .main-svg")
        rules = "document.getElementById('plotly.js-style-global').sheet.cssRules.length"

        assert witness.faults == []
        assert page.locator("#chart-roc_auc .plotly .js-line").count() > 0
        assert page.evaluate(rules) > 0  # Plotly's own styles are in force, though none may come from text
        assert (
            page.locator("#chart-roc_auc .plotly .main-svg").first.evaluate(
                "one => getComputedStyle(one).position"
            )
            == "absolute"
        )
        page.hover("#chart-roc_auc .plotly")
        edge = "one => one.getBoundingClientRect()"
        bar = page.locator("#chart-roc_auc .plotly .modebar").evaluate(edge)
        plot = page.locator("#chart-roc_auc .plotly .nsewdrag").first.evaluate(edge)
        assert bar["bottom"] <= plot["top"], "the tool bar lies on the plot"

    def test_onboarding_ticks_a_step_when_its_row_arrives(self, sign_in: SignIn, world: World) -> None:
        world.project.tokens.all().delete()
        page = sign_in()
        page.goto(world.pages["start"])
        assert "done" not in (page.get_attribute("#tasks li:first-child", "class") or "")

        ApiToken.objects.create(project=world.project, name="late", prefix="dl_late", digest="0" * 64)

        page.wait_for_selector("#tasks li.done:first-child")

    def test_arrow_keys_walk_the_heat_map(self, sign_in: SignIn, world: World) -> None:
        page = sign_in()
        page.goto(world.pages["drift"])
        page.locator(".heat tbody tr:first-child td.c a").first.focus()

        page.keyboard.press("ArrowRight")

        column = page.evaluate("document.activeElement.parentElement.cellIndex")
        first = page.evaluate("document.querySelector('.heat tbody td.c a').parentElement.cellIndex")
        assert column == first + 1


def test_the_admin_works_under_its_own_policy(sign_in: SignIn, world: World) -> None:
    world.owner.is_staff = world.owner.is_superuser = True
    world.owner.save()
    page = sign_in()
    witness = Witness(page)

    statuses = {
        page.goto(f"/admin/{path}").status for path in ("", "monitors/packedpoints/", "inference/model/")
    }  # type: ignore[union-attr]

    assert statuses == {200}
    assert witness.faults == []


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_a_name_of_a_hundred_letters_widens_no_page(width: int, sign_in: SignIn, world: World) -> None:
    name = "n" * 100
    create_model(project=world.project, name=name, task="binary", actor="test")
    pages = [
        f"/models/{name}/{page}" for page in ("", "drift", "performance", "rules", "reference", "settings")
    ]
    page = sign_in(width=width)
    sideways = []

    for path in (*pages, "/", "/models/", "/incidents/?status=all", f"/start/?model={name}"):
        page.goto(path)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            sideways.append(path.replace(name, "name"))

    assert sideways == []


def test_no_badge_of_the_tables_of_performance_and_drift_is_cut_off(sign_in: SignIn, world: World) -> None:
    for width in (WIDE, PHONE):
        page = sign_in(width=width)
        for name in ("performance", "numeric feature"):
            page.goto(world.pages[name])
            beyond = page.evaluate("""[...document.querySelectorAll('.cards td .badge')].filter(badge =>
                badge.getBoundingClientRect().right > badge.closest('.scroll, main').getBoundingClientRect().right
            ).map(badge => badge.textContent)""")
            assert (name, width, beyond) == (name, width, [])


def test_nothing_of_the_frame_is_printed(sign_in: SignIn, world: World) -> None:
    page = sign_in()
    page.goto(world.pages["health"])

    page.emulate_media(media="print")

    assert not page.locator(".side").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundImage") == "none"
    assert page.evaluate("document.querySelector('main').getBoundingClientRect().left") == 0


def test_the_switch_between_projects_can_be_read(sign_in: SignIn, world: World) -> None:
    other = Project.objects.create(slug="shop", name="Shop")
    Membership.objects.create(user=world.owner, project=other, role=Role.ADMIN)
    page = sign_in()
    page.goto(world.pages["health"])
    page.click("details.project summary")
    page.evaluate(AXE)

    found = page.evaluate(
        "axe.run('details.project', {runOnly: ['color-contrast']}).then(result => [result.violations, result.passes])"
    )

    assert found[0] == []
    assert found[1], "nothing was checked"


@pytest.mark.parametrize("width", [1280, PHONE])
def test_long_values_of_the_audit_trail_break_and_addresses_do_not(
    width: int, sign_in: SignIn, world: World
) -> None:
    record_audit(
        project=Project.objects.get(memberships__user=world.owner), actor="operator@driftline.local",
        action="version.upload", subject="approvals 2", before={"sha256": "a" * 64}, after={"sha256": "b" * 64},
    )  # fmt: skip
    page = sign_in(width=width)
    page.goto("/settings/audit")

    actor = page.locator("tbody th", has_text="operator@driftline.local").first

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    lines = "cell => { const text = document.createRange(); text.selectNodeContents(cell.firstChild);"
    assert (
        actor.evaluate(f"{lines} return new Set([...text.getClientRects()].map(line => line.top)).size }}")
        == 1
    )


def test_a_person_finds_their_account_on_a_phone(sign_in: SignIn, world: World) -> None:
    page = sign_in(width=PHONE)
    page.goto(world.pages["health"])

    page.click(f".person >> text={world.owner.email}")

    assert urlsplit(page.url).path == "/accounts/profile/"
