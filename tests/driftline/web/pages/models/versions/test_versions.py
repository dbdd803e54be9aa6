"""Versions on pages: an upload that is taken or refused in words, and changes that say what they will do."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, CustomRole, Membership, Project, User
from driftline.base.keys.home_keys import key_of_home
from driftline.web.pages.models.model import VERSIONS_SHOWN
from driftline.web.pages.models.versions import quarantine
from driftline.web.pages.models.versions.versions import SHOWN, stages_in
from inference.registry.models import DeploymentChange, Model, Version
from inference.registry.services import create_model
from inference.registry.versions import external_version
from inference.serving.crashes import QUARANTINE_FILE, quarantined
from tests.driftline.api.uploads import METADATA, onnx_file
from tests.driftline.api.upstream_sums import FEATURES, sums_in_v2
from tests.driftline.web.pages.queries import reads_of
from tests.driftline.web.pages.visitors import viewer_of
from tests.inference.onnx_models import constant_classifier, embedding_model
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.upstream import running_upstream

PAGE = "/p/bank/models/delay"


@pytest.fixture(scope="module")
def stored_model(project: Project) -> Model:
    return create_model(project=project, name="delay", task="regression", actor="test")


@pytest.fixture
def model(stored_model: Model, db: None) -> Model:
    return Model.objects.get(pk=stored_model.pk)


def upload(client: Client, content: bytes, *, metadata: str = json.dumps(METADATA), **headers: str) -> Any:
    file = SimpleUploadedFile("model.onnx", content)
    return client.post(
        f"{PAGE}/versions", {"file": file, "metadata": metadata}, headers=headers, follow=not headers
    )


@pytest.fixture(scope="class")
def home_of_two(
    owner: User,
    stored_model: Model,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """The home of two versions, of which the first is the champion, uploaded once for a class."""
    home = tmp_path_factory.mktemp("home")
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=home):
        client = PagesClient()
        client.force_login(owner)
        for remark in ("one", "other"):
            upload(client, onnx_file(remark=remark))
        yield home


@pytest.fixture
def two(home_of_two: Path, home: Path) -> None:
    copytree(home_of_two, home, dirs_exist_ok=True)


def change(client: Client, model: Model, query: str, *, generation: int | None = None, **fields: str) -> Any:
    """Confirm a change of the deployment, as the page that asks about it does."""
    model.deployment.refresh_from_db()
    form = {
        "generation": model.deployment.generation if generation is None else generation,
        "reason": "it is better",
        **fields,
    }
    return client.post(f"{PAGE}/deployment?{query}", form, follow=True)


class TestUpload:
    def test_a_good_file_becomes_a_version_whose_page_says_what_the_intake_found(
        self, client: Client, model: Model
    ) -> None:
        answer = upload(client, onnx_file(remark="one"))

        assert answer.redirect_chain[-1][0] == f"{PAGE}/versions/1"
        text = markup(answer)
        assert "Version 1 is added. It passed the intake in" in text
        assert "Opened by a child process" in text
        assert "opset 17, which this server runs" in text

    def test_the_page_of_a_model_of_images_says_what_is_logged_of_them(
        self, client: Client, model: Model
    ) -> None:
        metadata = {"outputs": {"prediction": "sum", "embedding": "embedding"}, "image": {"layout": "NCHW"}}

        answer = upload(client, embedding_model(), metadata=json.dumps(metadata))

        text = markup(answer)
        assert "X is an image (NCHW, 0 for black and 1 for white)." in text
        assert "embedding is logged as the embedding of the input." in text

    def test_a_bad_file_is_refused_with_its_reason_and_leaves_no_version(
        self, client: Client, model: Model
    ) -> None:
        answer = upload(client, b"no model at all")

        assert answer.status_code == 422
        assert "is not" in markup(answer).split('class="error"')[1][:300]
        assert not model.versions.exists()

    def test_wrong_metadata_is_explained_at_its_field(self, client: Client, model: Model) -> None:
        answer = upload(client, onnx_file(remark="one"), metadata='{"colour": "red"}')

        assert answer.status_code == 422
        assert "colour" in markup(answer)

    @pytest.mark.slow
    def test_with_scripts_only_the_form_comes_back_or_the_way_to_the_version(
        self, client: Client, model: Model
    ) -> None:
        refused = upload(client, b"no model at all", HX_Request="true")
        taken = upload(client, onnx_file(remark="one"), HX_Request="true")

        assert markup(refused).lstrip().startswith('<form id="upload"')
        assert (taken.status_code, taken["HX-Redirect"]) == (204, f"{PAGE}/versions/1")

    def test_the_same_bytes_are_no_new_version(self, client: Client, model: Model) -> None:
        upload(client, onnx_file(remark="one"))

        answer = upload(client, onnx_file(remark="one"))

        assert "are version 1 already" in markup(answer)
        assert model.versions.count() == 1


@pytest.mark.usefixtures("two")
class TestReads:
    @pytest.mark.parametrize(("page", "most"), [("", VERSIONS_SHOWN), ("/versions", SHOWN)])
    def test_no_more_versions_than_a_page_shows(
        self, client: Client, model: Model, page: str, most: int
    ) -> None:
        with CaptureQueriesContext(connection) as asked:
            client.get(f"{PAGE}{page or '/'}")

        lists = [sql for sql in reads_of(Version, asked) if '"sha256"' in sql and "ORDER BY" in sql]
        assert lists
        assert all(f"LIMIT {most}" in sql for sql in lists), lists

    def test_the_history_of_the_deployment_once(self, client: Client, model: Model) -> None:
        with CaptureQueriesContext(connection) as asked:
            client.get(f"{PAGE}/versions/2")

        assert len(reads_of(DeploymentChange, asked)) == 1


@pytest.mark.usefixtures("two")
class TestChanges:
    def test_promoting_says_first_what_it_does_then_does_it_and_leaves_an_audit_row(
        self, client: Client, model: Model, owner: User
    ) -> None:
        asked = markup(client.get(f"{PAGE}/deployment?do=promote&version=2"))

        done = change(client, model, "do=promote&version=2")

        assert "Version 2 will answer every request in the place of version 1" in asked
        model.deployment.refresh_from_db()
        assert model.deployment.champion.version == "2"  # type: ignore[union-attr]
        assert "Version 2 has answered since" in markup(done)
        row = AuditEntry.objects.get(action="deployment.promote")
        assert (row.actor, row.before["champion"], row.after["champion"]) == (owner.email, "1", "2")
        assert model.deployment_changes.get(kind="promote").reason == "it is better"

    @pytest.mark.slow
    def test_rolling_back_brings_the_one_of_before(self, client: Client, model: Model) -> None:
        change(client, model, "do=promote&version=2")
        asked = markup(client.get(f"{PAGE}/deployment?do=rollback"))

        change(client, model, "do=rollback")

        assert "Version 1 will answer every request in the place of version 2" in asked
        model.deployment.refresh_from_db()
        assert model.deployment.champion.version == "1"  # type: ignore[union-attr]

    def test_of_history_stand_at_the_time_of_its_predictions(self, client: Client, model: Model) -> None:
        change(client, model, "do=promote&version=2")
        long_ago = datetime(2026, 1, 5, tzinfo=UTC)
        DeploymentChange.objects.filter(kind="promote").update(event_time=long_ago)

        for page in ("versions", "versions/2"):
            text = markup(client.get(f"{PAGE}/{page}"))
            assert "5 Jan 2026 00:00</time>" in text
            assert "the clock of this machine" in text

    def test_a_version_begins_and_stops_to_shadow(self, client: Client, model: Model) -> None:
        change(client, model, "do=shadow&version=2")
        began = list(model.deployment.shadows.values_list("version", flat=True))

        change(client, model, "do=unshadow&version=2")

        assert (began, model.deployment.shadows.count()) == (["2"], 0)

    @pytest.mark.slow
    def test_a_version_answers_a_share_until_the_canary_is_ended(self, client: Client, model: Model) -> None:
        asked = markup(client.get(f"{PAGE}/deployment?do=canary&version=2"))
        begun = markup(change(client, model, "do=canary&version=2", percent="2.5", key="subject"))
        model.deployment.refresh_from_db()
        weight = model.deployment.canary_weight

        change(client, model, "do=uncanary&version=2")

        assert "will answer the share of requests that you choose" in asked
        assert "Version 2 has answered a share of the requests since" in begun
        assert "2.5% of keys (subject) are its own" in begun
        model.deployment.refresh_from_db()
        assert (weight, model.deployment.canary) == (0.025, None)

    @pytest.mark.slow
    @pytest.mark.parametrize("action", ["promote&version=3", "promote&version=2", "rollback"])
    def test_another_champion_says_that_it_ends_the_canary(
        self, client: Client, model: Model, action: str
    ) -> None:
        upload(client, onnx_file(remark="third"))
        if action == "rollback":
            change(client, model, "do=promote&version=3")
        change(client, model, "do=canary&version=2", percent="2.5", key="subject")

        asked = markup(client.get(f"{PAGE}/deployment?do={action}"))
        change(client, model, f"do={action}")

        assert "The canary ends: version 2 no longer answers 2.5% of keys." in asked
        model.deployment.refresh_from_db()
        assert model.deployment.canary is None

    def test_a_canary_that_nobody_asked_yet_is_compared_in_words(self, client: Client, model: Model) -> None:
        change(client, model, "do=canary&version=2", percent="2.5", key="subject")

        told = client.get(f"/api/v1/models/{model.name}/comparison?challenger=2").json()
        part = markup(client.get(f"{PAGE}/shadow?part=evidence"))

        assert (told["kind"], told["verdict"]["decision"]) == ("unpaired", "inconclusive")
        assert told["canary"]["weight"] == 0.025
        assert "Version 2 is a canary and has answered no request yet." in part

    @pytest.mark.slow
    def test_promoting_the_champion_again_leaves_the_canary(self, client: Client, model: Model) -> None:
        change(client, model, "do=canary&version=2", percent="2.5", key="subject")

        asked = markup(client.get(f"{PAGE}/deployment?do=promote&version=1"))
        change(client, model, "do=promote&version=1")

        assert "The canary ends" not in asked
        model.deployment.refresh_from_db()
        assert model.deployment.canary is not None

    def test_a_running_canary_is_named_with_its_share_above_the_versions(
        self, client: Client, model: Model
    ) -> None:
        change(client, model, "do=canary&version=2", percent="2.5", key="subject")

        page = markup(client.get(f"{PAGE}/versions"))

        assert f'<a href="{PAGE}/versions/2">Version 2</a> answers 2.5% of keys as canary.' in page

    @pytest.mark.parametrize("percent", ["0", "100", "-1", "half", "1e1", ""])
    def test_a_share_that_is_none_is_refused(self, client: Client, model: Model, percent: str) -> None:
        answer = change(client, model, "do=canary&version=2", percent=percent, key="subject")

        assert "is no share" in markup(answer)
        model.deployment.refresh_from_db()
        assert model.deployment.canary is None

    def test_a_change_that_was_seen_on_an_older_deployment_is_refused(
        self, client: Client, model: Model
    ) -> None:
        change(client, model, "do=shadow&version=2")

        answer = change(client, model, "do=promote&version=2", generation=1)

        assert "not 1; read it again" in markup(answer)
        model.deployment.refresh_from_db()
        assert model.deployment.champion.version == "1"  # type: ignore[union-attr]

    def test_there_is_nothing_to_roll_back_to_at_first(self, client: Client, model: Model) -> None:
        answer = client.get(f"{PAGE}/deployment?do=rollback")

        assert answer.status_code == 409
        assert "nothing to go back to" in markup(answer)

    def test_a_viewer_reads_what_a_change_would_do_and_gets_no_button(
        self, model: Model, project: Project
    ) -> None:
        page = markup(viewer_of(project).get(f"{PAGE}/deployment?do=promote&version=2"))

        assert "will answer every request" in page
        assert "Yes, promote" not in page
        assert "Your role in this project does not allow this change" in page

    @pytest.mark.parametrize(("scope", "is_offered"), [("deploy", True), ("admin", False)])
    def test_promoting_is_offered_in_the_list_to_roles_that_may_deploy(
        self, model: Model, project: Project, scope: str, is_offered: bool
    ) -> None:
        CustomRole.objects.create(project=project, name="custom", scopes=["read", scope])
        viewer = viewer_of(project)
        Membership.objects.filter(user__email="viewer@bank.example").update(role="custom")

        assert ("Promote…" in markup(viewer.get(f"{PAGE}/versions"))) == is_offered


@pytest.mark.slow
def test_a_version_whose_scores_mean_the_opposite_is_not_promoted(client: Client, model: Model) -> None:
    Model.objects.update(task="binary")
    for positive, probability in (("1", 0.25), ("0", 0.75)):
        metadata = {"classes": ["0", "1"], "positive_class": positive}
        upload(client, constant_classifier(probability, 2), metadata=json.dumps(metadata))

    answer = change(client, model, "do=promote&version=2")

    assert "Version 2 has another positive class than the champion 1: 0 instead of 1." in markup(answer)
    model.deployment.refresh_from_db()
    assert model.deployment.champion.version == "1"  # type: ignore[union-attr]


@pytest.mark.usefixtures("two")
class TestArtifact:
    def test_comes_back_as_it_was_uploaded_and_is_audited(self, client: Client, model: Model) -> None:
        answer = client.get(f"{PAGE}/versions/2/artifact")

        assert answer.getvalue() == onnx_file(remark="other")  # type: ignore[attr-defined]
        assert answer["Content-Disposition"] == 'attachment; filename="delay-2.onnx"'
        assert AuditEntry.objects.get(action="version.download").subject == "delay 2"

    def test_is_not_for_viewers(self, model: Model, project: Project) -> None:
        assert viewer_of(project).get(f"{PAGE}/versions/2/artifact").status_code == 403
        assert not AuditEntry.objects.filter(action="version.download").exists()

    def test_of_another_servers_version_does_not_exist(self, client: Client, model: Model) -> None:
        external_version(model=model, version="theirs")

        assert client.get(f"{PAGE}/versions/theirs/artifact").status_code == 409
        assert "Another server answers it" in markup(client.get(f"{PAGE}/versions/theirs"))


def test_a_state_of_the_deployment_tells_each_versions_parts() -> None:
    state = {"champion": "1", "shadows": ["2", "3"], "canary": {"version": "3", "weight": 0.1}}

    assert [stages_in(state, version) for version in "1234"] == [
        {"champion"},
        {"shadow"},
        {"shadow", "canary"},
        set(),
    ]


@pytest.mark.usefixtures("two")
class TestNames:
    def confirm(self, client: Client, query: str) -> Any:
        return client.post(f"{PAGE}/alias?{query}", follow=True)

    def test_a_name_moves_to_another_version_after_the_page_said_so(
        self, client: Client, model: Model, owner: User
    ) -> None:
        self.confirm(client, "do=set&alias=stable&version=1")
        asked = markup(client.get(f"{PAGE}/alias?do=set&alias=stable&version=2"))

        done = markup(self.confirm(client, "do=set&alias=stable&version=2"))

        assert "stable names version 1 and will name version 2 instead" in asked
        assert "stable names version 2 now." in done
        assert model.aliases.get(name="stable").version.version == "2"
        row = AuditEntry.objects.filter(action="alias.set").latest("pk")
        assert (row.actor, row.before, row.after) == (owner.email, {"version": "1"}, {"version": "2"})

    def test_a_name_is_taken_away_and_the_version_stays(self, client: Client, model: Model) -> None:
        self.confirm(client, "do=set&alias=stable&version=1")
        listed = markup(client.get(f"{PAGE}/versions"))

        self.confirm(client, "do=remove&alias=stable")

        assert f'href="{PAGE}/alias?do=remove&amp;alias=stable"' in listed
        assert (model.aliases.count(), model.versions.count()) == (0, 2)
        assert AuditEntry.objects.filter(action="alias.remove", subject="delay stable").exists()

    @pytest.mark.parametrize(
        ("query", "status", "said"),
        [
            ("do=set&alias=a b&version=1", 422, "is not an alias"),
            ("do=set&alias=stable&version=9", 404, ""),
            ("do=remove&alias=stable", 404, ""),
            ("do=dance&alias=stable", 400, "use set or remove"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anybody_confirms(
        self, client: Client, query: str, status: int, said: str
    ) -> None:
        answer = client.get(f"{PAGE}/alias?{query}")

        assert answer.status_code == status
        assert said in markup(answer)

    def test_a_viewer_sees_names_and_no_way_to_change_them(
        self, client: Client, model: Model, project: Project
    ) -> None:
        self.confirm(client, "do=set&alias=stable&version=1")
        viewer = viewer_of(project)

        page = markup(viewer.get(f"{PAGE}/versions"))

        assert "stable" in page
        assert "do=remove" not in page
        assert self.confirm(viewer, "do=remove&alias=stable").status_code == 403
        assert model.aliases.count() == 1


@pytest.mark.usefixtures("two")
class TestAVersionThatKeepsCrashing:
    @pytest.fixture
    def held_back(self, model: Model, home: Path) -> Version:
        version = model.versions.get(version="2")
        crashes = {
            str(version.pk): {
                "at": [1e9, 1e9 + 60, 1e9 + 120],
                "reason": "crashed a serving process (SIGSEGV)",
                "quarantined": True,
            }
        }
        (home / QUARANTINE_FILE).write_text(json.dumps(crashes))
        return version

    def test_is_named_on_the_pages_of_versions_with_its_crashes(
        self, client: Client, held_back: Version
    ) -> None:
        listed = markup(client.get(f"{PAGE}/versions"))
        own = markup(client.get(f"{PAGE}/versions/2"))

        assert "Version 2</a> is held back</strong>" in listed
        assert (
            "harmed the serving processes 3 times: on 9 Sep 2001 01:48 UTC it crashed a serving process (SIGSEGV)"
            in own
        )

    def test_is_looked_up_once_for_all_versions_of_a_page(
        self, client: Client, held_back: Version, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = Mock(wraps=quarantine.read_crashes)
        monkeypatch.setattr(quarantine, "read_crashes", read)

        client.get(f"{PAGE}/versions")

        assert read.call_count == 1

    def test_is_tried_again_after_the_page_said_what_that_does(
        self, client: Client, held_back: Version, home: Path, owner: User
    ) -> None:
        asked = markup(client.get(f"{PAGE}/versions/2/quarantine"))

        done = markup(client.post(f"{PAGE}/versions/2/quarantine", follow=True))

        assert "A crash or a stall ends the requests that the process had under way" in asked
        assert "The quarantine of version 2 is lifted." in done
        assert quarantined(home) == {}
        row = AuditEntry.objects.get(action="version.update")
        assert (row.actor, row.after["quarantine_lifted"]) == (owner.email, True)

    def test_stays_held_back_where_a_viewer_asks(
        self, held_back: Version, project: Project, home: Path
    ) -> None:
        viewer = viewer_of(project)

        assert "Yes, let it be loaded" not in markup(viewer.get(f"{PAGE}/versions/2/quarantine"))
        assert viewer.post(f"{PAGE}/versions/2/quarantine").status_code == 403
        assert set(quarantined(home)) == {held_back.pk}

    def test_that_does_not_crash_has_nothing_to_lift(self, client: Client) -> None:
        answer = client.get(f"{PAGE}/versions/1/quarantine")

        assert answer.status_code == 409
        assert "Version 1 is not held back." in markup(answer)

    def test_is_told_by_the_api(self, client: Client, held_back: Version) -> None:
        items = client.get("/api/v1/models/delay/versions").json()["items"]

        assert {item["version"]: item["quarantined"] for item in items} == {"1": False, "2": True}


class TestAnotherServer:
    @pytest.fixture(autouse=True)
    def may_be_on_loopback(self, settings: Any, home: Path) -> None:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        key_of_home(home, "endpoint_key")

    def told(self, url: str, **more: str) -> dict[str, str]:
        return {
            "url": url, "protocol": "v2", "model": "theirs", "token": "s3cret",
            "metadata": json.dumps(FEATURES),
        } | more  # fmt: skip

    def test_becomes_a_version_whose_page_shows_the_endpoint_and_never_the_credential(
        self, client: Client, model: Model
    ) -> None:
        with running_upstream(sums_in_v2) as upstream:
            answer = client.post(f"{PAGE}/endpoint", self.told(upstream.url), follow=True)

        page = markup(answer)
        assert answer.redirect_chain == [(f"{PAGE}/versions/1", 302)]
        assert "Its server was tried in" in page
        assert upstream.url in page
        assert "<dt>Credential</dt><dd>sealed</dd>" in page
        assert "s3cret" not in page
        assert "Download the ONNX" not in page

    def test_is_refused_at_the_field_that_can_mend_it_and_forgets_the_token(
        self, client: Client, model: Model
    ) -> None:
        for told, field, sentence in (
            (self.told("http://10.0.0.1"), "url", "is not a public address"),
            (self.told("http://127.0.0.1:9999", protocol="v3"), "protocol", "v3 is not one"),
            (self.told("http://127.0.0.1:9999", metadata='{"colour": 1}'), "metadata", "colour"),
            (self.told("http://127.0.0.1:9999", metadata="{"), None, "not JSON"),
        ):
            answer = client.post(f"{PAGE}/endpoint", told)

            page = markup(answer)
            assert answer.status_code == 422
            assert sentence in " ".join(answer.context["endpoint_form"].errors.get(field or "__all__", []))
            assert "s3cret" not in page
        assert not Version.objects.exists()

    def test_is_offered_on_the_page_of_versions_to_those_who_may(
        self, client: Client, model: Model, project: Project
    ) -> None:
        assert f'action="{PAGE}/endpoint"' in markup(client.get(f"{PAGE}/versions"))
        assert client.get(f"{PAGE}/endpoint").status_code == 200

        viewer = viewer_of(project)
        assert f'action="{PAGE}/endpoint"' not in markup(viewer.get(f"{PAGE}/versions"))
        assert viewer.post(f"{PAGE}/endpoint", self.told("http://127.0.0.1:9999")).status_code == 403
