"""A project as a document: exported, planned and applied, whole or not at all, and what was edited since is listed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from django.test import override_settings

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import AuditEntry, Project
from driftline.operations.models import AppliedConfiguration
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from monitors.alerts.models import Channel, Silence
from monitors.alerts.sending.channel_services import create_channel
from monitors.alerts.stored_routing import routing_of, save_routing
from monitors.definitions.models import CustomMetric, Segment
from monitors.definitions.monitors import choose_span
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from monitors.sinks.models import Sink
from monitors.workflows.services import configure_workflow
from tests.driftline.api.conftest import Api, caller
from tests.driftline.api.shape import assert_problem
from tests.worlds.every_kind import furnish

YAML = "application/yaml"
TREE = {
    "route": {
        "channels": ["mail"],
        "routes": [
            {"matchers": ['severity="critical"'], "channels": ["team"], "mute_time_intervals": ["nights"]}
        ],
    },
    "time_intervals": [{"name": "nights", "times": ["22:00-24:00"], "days_of_month": ["-1"]}],
}
RETRAINING = {"metric": "accuracy", "threshold": 0.1, "action": "retrain"}
CONDITION = {
    "any": [
        {"metric": "count", "operator": "below", "times": 0.5, "days_before": 7},
        {"not": {"metric": "accuracy", "threshold": 0.5}},
    ]
}
SLACK = "https://hooks.slack.com/services/T000/B000/topsecrettoken"


KAFKA: dict[str, Any] = {
    "brokers": ["127.0.0.1:9093"],
    "topics": ["scores"],
    "security": "sasl_plaintext",
    "user": "ada",
    "registry_url": "http://127.0.0.1:8900",
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with override_settings(HOME=home, OUTBOUND_ALLOW=["127.0.0.1/32", "203.0.113.0/24"]):
        yield


@pytest.fixture
def api(db: None) -> Api:
    """A caller of an empty project."""
    return caller("bare")


@pytest.fixture
def furnished(everything: Api, db: None) -> Api:
    return replace(everything, project=Project.objects.get(pk=everything.project.pk))


@pytest.fixture(scope="module")
def everything(home: None, shared_api: Api) -> Api:
    """A project with a model that has everything that a configuration holds."""
    api = shared_api
    model = furnish(api.project, "flights").model
    add_default_rules(project=api.project, model=model, actor="test")
    configure_workflow(
        model=model, actor="test", pairs=300, max_pairs=900, gate={"margins": {"log_loss": 0.01}}
    )
    choose_span(
        monitor=model.monitors.select_related("model__project").get(kind="drift"), span="week", actor="test"
    )
    create_rule(
        project=api.project,
        model=model,
        actor="test",
        name="drift that hurts",
        condition=CONDITION,
        no_data="alert",
    )
    model.expectations.create(feature="a", least=0.0, most=9.5, tolerance=0.01)
    create_rule(
        project=api.project, model=model, name="mean of a is high", metric="custom", feature="mean of a", threshold=3.0,
        actor="test",
    )  # fmt: skip
    create_channel(
        project=api.project, kind="slack", name="team", target=SLACK, actor="test", events=["run.promoted"]
    )
    save_routing(project=api.project, document=TREE, actor="test")
    create_source(
        project=api.project,
        model=model,
        actor="test",
        name="scores",
        what="predictions",
        settings=KafkaSettings.model_validate(KAFKA),
        mapping=SourceMapping(id="key", tags={"region": "customer.region"}),
        secret="broker-password",
        registry_secret="registry-token",
        enabled=False,
    )
    return api


def exported(api: Api) -> dict[str, Any]:
    answer = api.get("/config")
    assert answer.status_code == 200
    read: dict[str, Any] = yaml.safe_load(answer.content)
    return read


def plan(api: Api, document: dict[str, Any] | str) -> list[dict[str, Any]]:
    answer = api.post("/config/plan", text_of(document), content_type=YAML)
    assert answer.status_code == 200, answer.json()
    return answer.json()["changes"]  # type: ignore[no-any-return]


def apply(api: Api, document: dict[str, Any] | str) -> Any:
    return api.post("/config/apply", text_of(document), content_type=YAML)


def text_of(document: dict[str, Any] | str) -> bytes:
    return (document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)).encode()


@pytest.mark.slow
def test_what_is_exported_and_applied_to_an_empty_project_is_exported_again(furnished: Api) -> None:
    document = furnished.get("/config").content.decode()
    empty = caller("empty")

    answer = apply(empty, document)

    assert answer.status_code == 200, answer.json()
    assert empty.get("/config").content.decode() == document
    assert plan(empty, document) == []
    model = Model.objects.get(project=empty.project)
    assert model.rules.count() == len(exported(furnished)["models"]["flights"]["rules"]) > 5
    assert model.workflow.pairs == 300
    assert model.monitors.get(kind="drift").span == "week"
    assert (model.expectations.get().least, model.segments.get().name) == (0.0, "low")
    assert model.custom_metrics.get().expression == "mean(a)"
    source = model.sources.get(name="scores")
    assert (source.enabled, source.settings["topics"], source.mapping["id"]) == (False, ["scores"], "key")


def test_what_is_exported_changes_nothing_where_it_came_from(furnished: Api) -> None:
    assert plan(furnished, exported(furnished)) == []


@pytest.mark.slow
def test_secrets_are_not_exported_and_a_channel_without_its_target_is_off_until_it_has_one(
    furnished: Api,
) -> None:
    assert b"topsecret" not in furnished.get("/config").content
    empty = caller("empty")
    apply(empty, exported(furnished))

    channel = Channel.objects.get(project=empty.project, name="team")
    assert (channel.enabled, channel.disabled_reason) == (False, "It needs its target, which was not given")
    refused = empty.send("PATCH", f"/channels/{channel.pk}", {"enabled": True})
    assert_problem(refused, 422, "invalid_parameter")
    answer = apply(
        empty, {"channels": exported(empty)["channels"] | {"team": {"kind": "slack", "target": SLACK}}}
    )

    assert answer.status_code == 200
    assert "topsecret" not in answer.content.decode()
    channel.refresh_from_db()
    assert (channel.enabled, channel.target, channel.disabled_reason) == (True, SLACK, "")
    assert SLACK not in str(AppliedConfiguration.objects.get(project=empty.project).document)


def test_a_reader_does_not_see_where_channels_send_to(furnished: Api) -> None:
    reader = caller("ours", Scope.READ)

    assert "target" not in exported(reader)["channels"]["mail"]
    assert exported(furnished)["channels"]["mail"]["target"] == "a@example.com"


def test_a_plan_lists_what_would_be_made_changed_and_deleted(furnished: Api) -> None:
    document = exported(furnished)
    rules = document["models"]["flights"]["rules"]
    rules["r"]["threshold"] = 0.75
    rules["new"] = {"metric": "psi", "feature": "*", "threshold": 0.3}
    del rules["Feature drift"]

    changes = plan(furnished, document)

    assert [(one["action"], one["kind"], one["model"], one["name"]) for one in changes] == [
        ("change", "rule", "flights", "r"),
        ("create", "rule", "flights", "new"),
        ("delete", "rule", "flights", "Feature drift"),
    ]
    assert changes[0]["fields"] == [{"name": "threshold", "before": 0.5, "after": 0.75}]
    assert Rule.objects.get(name="r").threshold == 0.5

    assert apply(furnished, document).status_code == 200

    assert set(Rule.objects.values_list("name", flat=True)) == set(rules)
    assert Rule.objects.get(name="r").threshold == 0.75


def test_a_rule_changes_between_a_condition_and_one_comparison(furnished: Api) -> None:
    document = exported(furnished)
    rules = document["models"]["flights"]["rules"]
    assert rules["drift that hurts"]["condition"] == CONDITION
    assert "metric" not in rules["drift that hurts"]
    rules["drift that hurts"] = {"condition": None, "metric": "count", "threshold": 5}
    rules["r"] = {"condition": CONDITION}

    assert apply(furnished, document).status_code == 200

    assert Rule.objects.get(name="drift that hurts").metric == "count"
    assert Rule.objects.get(name="r").condition == CONDITION


def test_a_condition_is_refused_at_its_place(furnished: Api) -> None:
    document = {
        "models": {"flights": {"rules": {"odd": {"condition": {"all": [{"metric": "luck", "limit": 1}]}}}}}
    }

    problem = assert_problem(apply(furnished, document), 422, "invalid_parameter")

    assert problem["errors"][0]["pointer"] == "/models/flights/rules/odd/condition/all/0/limit"


def test_what_a_document_does_not_mention_stays(furnished: Api) -> None:
    before = exported(furnished)

    answer = apply(furnished, {"models": {"flights": {"description": "of the north"}}})

    assert answer.status_code == 200
    before["models"]["flights"]["description"] = "of the north"
    assert exported(furnished) == before


@pytest.mark.slow
def test_a_document_is_applied_whole_or_not_at_all(furnished: Api) -> None:
    document = exported(furnished)
    document["models"]["flights"]["description"] = "changed"
    document["models"]["second"] = {
        "task": "binary",
        "rules": {"odd": {"metric": "nonsense", "threshold": 1}},
    }
    before = exported(furnished)

    answer = apply(furnished, document)

    problem = assert_problem(answer, 422, "unknown_metric")
    assert problem["errors"][0]["pointer"] == "/models/second/rules/odd/metric"
    assert problem["detail"].startswith("rule second/odd: 'nonsense' is not a metric")
    assert problem["detail"].endswith("Nothing was applied.")
    assert exported(furnished) == before
    assert not AppliedConfiguration.objects.exists()


def test_rules_go_before_the_segments_that_they_watch_and_come_after_them(furnished: Api) -> None:
    document = exported(furnished)
    model = document["models"]["flights"]
    model["declared_segments"]["high"] = [{"feature": "a", "lower": 1.0}]
    model["rules"]["of high"] = {
        "metric": "accuracy",
        "segment": "high",
        "operator": "below",
        "threshold": 0.5,
    }
    assert apply(furnished, document).status_code == 200
    del model["declared_segments"]["high"], model["rules"]["of high"]

    assert apply(furnished, document).status_code == 200

    assert list(Segment.objects.values_list("name", flat=True)) == ["low"]


@pytest.mark.slow
def test_a_pipeline_is_exported_without_its_secret_and_applied_where_that_is_set_apart(
    furnished: Api,
) -> None:
    model = Model.objects.get(project=furnished.project)
    remote = {"kind": "airflow", "url": "https://93.184.216.34", "dag_id": "retrain", "username": "driftline"}
    configure_workflow(
        model=model,
        actor="test",
        trainer="remote",
        remote=remote,
        remote_secret="topsecret",
        training_hours=6,
    )
    document = exported(furnished)
    empty = caller("empty")

    applied = apply(empty, document)

    assert applied.status_code == 200, applied.json()
    assert "topsecret" not in yaml.safe_dump(document)
    read = empty.get("/models/flights").json()["workflow"]
    assert (read["remote"], read["training_hours"]) == (remote, 6)
    assert read["has_remote_secret"] is False
    document["models"]["flights"]["workflow"]["remote_secret"] = "topsecret"
    assert_problem(apply(empty, document), 422, "unknown_field")


@pytest.mark.slow
def test_a_custom_metric_comes_and_goes_with_the_margin_and_the_rule_that_name_it(furnished: Api) -> None:
    document = exported(furnished)
    model = document["models"]["flights"]
    model["custom_metrics"]["total"] = {"expression": "sum(a)"}
    model["workflow"]["gate"]["margins"]["custom:total"] = 0.5
    model["rules"]["mean of a is high"]["feature"] = "total"
    del model["custom_metrics"]["mean of a"]

    brought = apply(furnished, document)

    assert brought.status_code == 200, brought.json()
    assert list(CustomMetric.objects.values_list("name", flat=True)) == ["total"]
    model["custom_metrics"] = {"another": {"expression": "mean(a)"}}
    del model["workflow"]["gate"]["margins"]["custom:total"]
    model["rules"]["mean of a is high"]["feature"] = "another"

    removed = apply(furnished, document)

    assert removed.status_code == 200, removed.json()
    assert list(CustomMetric.objects.values_list("name", flat=True)) == ["another"]


def test_a_channel_goes_after_the_tree_that_names_it(furnished: Api) -> None:
    document = exported(furnished)
    del document["channels"]["team"]
    refused = apply(furnished, document)
    del document["routing"]["route"]["routes"]

    assert_problem(refused, 409, "channel_in_routing")
    assert apply(furnished, document).status_code == 200
    assert routing_of(furnished.project).document.plain()["route"] == {"channels": ["mail"]}
    assert apply(furnished, {"routing": None}).status_code == 200
    assert routing_of(furnished.project).is_default


@pytest.mark.parametrize("labels", [{}, {"matchers": {"feature": "income", "severity": "warning"}}])
def test_silences_are_made_and_ended(api: Api, labels: dict[str, Any]) -> None:
    silence = {
        "start": "2030-01-01T00:00:00Z",
        "end": "2030-01-02T00:00:00+01:00",
        "reason": "works",
        **labels,
    }
    assert apply(api, {"silences": [silence]}).status_code == 200
    assert plan(api, {"silences": [silence]}) == []
    made = Silence.objects.get(project=api.project)
    assert (made.reason, made.matchers) == ("works", labels.get("matchers", {}))

    assert apply(api, {"silences": []}).status_code == 200

    assert not Silence.objects.filter(project=api.project).exists()


@pytest.mark.slow
def test_what_is_edited_by_hand_is_told_and_applied_away(furnished: Api) -> None:
    assert furnished.get("/config/differences").json() == {
        "applied_at": None,
        "applied_by": None,
        "changes": [],
    }
    document = exported(furnished)
    apply(furnished, document)
    assert furnished.get("/config/differences").json()["changes"] == []
    rule = Rule.objects.get(name="r")
    furnished.send("PATCH", f"/rules/{rule.pk}", {"threshold": 0.9})

    found = furnished.get("/config/differences").json()

    assert found["changes"] == [
        {
            "action": "change", "kind": "rule", "model": "flights", "name": "r",
            "fields": [{"name": "threshold", "before": 0.9, "after": 0.5}],
        }
    ]  # fmt: skip
    apply(furnished, document)
    rule.refresh_from_db()
    assert rule.threshold == 0.5


@pytest.mark.parametrize(
    ("document", "needed"),
    [
        ({"models": {"flights": {"rules": {"x": RETRAINING}}}}, "deploy"),
        ({"models": {"flights": {"workflow": {"pairs": 50}}}}, "deploy"),
        ({"models": {"flights": {"privacy": {"a": "drop"}}}}, "admin"),
        ({"silences": [{"start": "2030-01-01T00:00:00Z", "end": "2030-01-02T00:00:00Z", "reason": "x"}]}, "admin"),
    ],
)  # fmt: skip
def test_each_thing_needs_its_own_right(furnished: Api, document: dict[str, Any], needed: str) -> None:
    writer = caller("ours", Scope.READ, Scope.WRITE)
    before = exported(furnished)

    problem = assert_problem(apply(writer, document), 403, "insufficient_scope")

    assert f"needs the scope '{needed}'" in problem["detail"]
    assert exported(furnished) == before


class TestSources:
    def test_neither_secrets_nor_the_group_of_an_installation_are_exported(self, furnished: Api) -> None:
        text = furnished.get("/config").content.decode()

        assert "broker-password" not in text
        assert "registry-token" not in text
        assert "group" not in exported(furnished)["sources"]["scores"]["settings"]

    def test_a_change_keeps_what_is_not_said_and_the_secrets(self, furnished: Api) -> None:
        changed = {
            "model": "flights",
            "what": "predictions",
            "settings": KAFKA | {"topics": ["scores", "more"]},
            "mapping": {"label": "truth"},
            "enabled": True,
        }
        document = {"sources": exported(furnished)["sources"] | {"scores": changed}}
        before = Source.objects.get(name="scores")

        shown = plan(furnished, document)
        assert apply(furnished, document).status_code == 200

        assert [(field["name"], field["after"]) for field in shown[0]["fields"]] == [
            ("enabled", True),
            ("settings.topics", ["scores", "more"]),
            ("mapping.label", "truth"),
        ]
        after = Source.objects.get(name="scores")
        assert after.settings == before.settings | {"topics": ["scores", "more"]}
        assert after.mapping == before.mapping | {"label": "truth"}
        assert (bytes(after.secret), bytes(after.registry_secret)) == (
            bytes(before.secret),
            bytes(before.registry_secret),
        )
        assert plan(furnished, document) == []

    def test_one_that_the_list_does_not_have_is_deleted(self, furnished: Api) -> None:
        assert apply(furnished, {"sources": {}}).status_code == 200

        assert not Source.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "status", "pointer"),
        [
            ({"what": "labels"}, 422, None),
            ({"settings": {"kind": "objects", "bucket": "b"}}, 422, None),
            ({"settings": {"kind": "carrier pigeon"}}, 422, "/sources/scores/settings"),
            ({"settings": KAFKA | {"brokers": ["10.0.0.1:9093"]}}, 422, "/sources/scores/settings/brokers/0"),
            ({"secret": "password"}, 422, "/sources/scores/secret"),
        ],
    )
    def test_what_a_source_cannot_be_is_refused(
        self, furnished: Api, changes: dict[str, Any], status: int, pointer: str | None
    ) -> None:
        source = {"model": "flights", "what": "predictions", "settings": KAFKA} | changes

        answer = apply(furnished, {"sources": {"scores": source}})

        assert answer.status_code == status, answer.json()
        if pointer is not None:
            assert answer.json()["errors"][0]["pointer"] == pointer

    def test_needs_the_right_to_log_what_it_brings(self, furnished: Api) -> None:
        source = exported(furnished)["sources"]["scores"]
        document = {"sources": {"scores": source | {"settings": KAFKA | {"topics": ["others"]}}}}
        writer = caller(furnished.project.slug, Scope.READ, Scope.WRITE)

        paused = {"sources": {"scores": source | {"enabled": True}}}
        assert apply(writer, paused).status_code == 200
        assert_problem(apply(writer, document), 403, "insufficient_scope")
        writer = caller(furnished.project.slug, Scope.READ, Scope.WRITE, Scope.LOG)
        assert apply(writer, document).status_code == 200


@pytest.mark.parametrize(
    ("document", "status", "pointer"),
    [
        ("rules: {}", 422, "/rules"),
        ("version: 2", 422, "/version"),
        ("models: [1]", 422, "/models"),
        ("models: {flights: {colour: red}}", 422, "/models/flights/colour"),
        ("models: {flights: {rules: {r: {threshold: high}}}}", 422, "/models/flights/rules/r/threshold"),
        ("models: {flights: {monitors: {drift: 3h}}}", 422, "/models/flights/span"),
        ("models: {new: {description: x}}", 422, "/models/new/task"),
        ("models: {'a/b': {task: binary}}", 422, "/models/a~1b/name"),
        ("channels: {mail: {kind: slack}}", 422, None),
        ("channels: {mail: {kind: email, target: nobody}}", 422, "/channels/mail/target"),
        ("channels: {x: {kind: pigeon, target: a}}", 422, "/channels/x/kind"),
        ("silences: [{start: 2030-01-02T00:00:00Z, end: 2030-01-01T00:00:00Z, reason: x}]", 422, None),
        ("silences: [{start: tomorrow, end: 2030-01-01T00:00:00Z, reason: x}]", 422, "/silences/0/start"),
        ("silences: [{model: none, start: 2030-01-01T00:00:00Z, end: 2030-01-02T00:00:00Z, reason: x}]", 404, None),
        ("routing: {route: {channels: [nobody]}}", 422, None),
        ("routing: {route: {repeat: 1h}}", 422, "/routing/route/repeat"),
        ("a: &x {}\nb: *x", 422, ""),
        ("[1, 2]", 422, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place_and_nothing_is_applied(
    furnished: Api, document: str, status: int, pointer: str | None
) -> None:
    before = exported(furnished)

    answer = apply(furnished, document)

    assert answer.status_code == status, answer.json()
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer, answer.json()
    assert exported(furnished) == before


def test_a_document_that_is_too_large_is_refused(api: Api) -> None:
    assert_problem(
        api.post("/config/plan", b"#" * (2 << 20) + b"#", content_type=YAML), 413, "body_too_large"
    )


def test_who_applied_what_is_in_the_audit_trail(api: Api) -> None:
    apply(api, {"channels": {"mail": {"kind": "email", "target": "a@example.com"}}})

    entry = AuditEntry.objects.get(action="configuration.apply")
    assert entry.after == {"changes": ["create channel mail"]}
    assert entry.actor.startswith("token")


class TestTheSink:
    def test_is_exported_without_its_secret_and_set_and_stopped(self, furnished: Api) -> None:
        assert exported(furnished)["sink"]["brokers"] == ["203.0.113.1:9093"]
        assert "secret" not in exported(furnished)["sink"]

        changed = {"sink": {"brokers": ["203.0.113.2:9093"], "security": "tls", "streams": ["events"]}}
        assert apply(furnished, changed).status_code == 200
        assert Sink.objects.get().settings["brokers"] == ["203.0.113.2:9093"]
        assert [one.kind for one in Sink.objects.get().streams.all()] == ["events"]

        assert apply(furnished, {"sink": None}).status_code == 200
        assert not Sink.objects.exists()
        assert exported(furnished)["sink"] is None


class TestTheLake:
    def test_is_part_of_a_document_without_its_secret(self, furnished: Api) -> None:
        assert exported(furnished)["lake"]["bucket"] == "lake"
        assert "secret" not in exported(furnished)["lake"]

    def test_is_changed_and_stopped_by_a_document(self, furnished: Api) -> None:
        LakeFile.objects.all().delete()
        moved = {"lake": {"bucket": "days", "endpoint": "https://203.0.113.7"}}

        assert apply(furnished, moved).json()["changes"][0]["fields"]
        assert Lake.objects.get().settings["bucket"] == "days"
        assert apply(furnished, moved).json()["changes"] == []

        assert apply(furnished, {"lake": None}).status_code == 200
        assert not Lake.objects.exists()
        assert exported(furnished)["lake"] is None

    def test_that_has_files_is_not_moved_by_a_document(self, furnished: Api) -> None:
        answer = apply(furnished, {"lake": {"bucket": "days", "endpoint": "https://203.0.113.7"}})

        assert (answer.status_code, answer.json()["code"]) == (409, "lake_in_use")
        assert Lake.objects.get().settings["bucket"] == "lake"
