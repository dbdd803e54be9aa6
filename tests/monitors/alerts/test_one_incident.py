"""Alerts that overlap and share a cause are one incident, named by the most causal one and notified of once."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from inference.registry.models import Model
from monitors.alerts import services
from monitors.alerts.incidents import handling
from monitors.alerts.incidents.grouping import KnownAlert, family_of, is_one_problem
from monitors.alerts.models import Alert, Channel, Delivery, Incident
from monitors.alerts.sending import channel_services
from monitors.alerts.wording import moment
from monitors.rules.models import Rule, Transition
from tests.monitors.alerts.conftest import DAY

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 2, tzinfo=UTC)


def problem(
    metric: str, *names: str, days: tuple[int, int | None] = (0, None), segment: str = "", feature: str = ""
) -> KnownAlert:
    begin, end = days
    return KnownAlert(
        metric, feature, segment, START + begin * DAY, None if end is None else START + end * DAY, frozenset(names)
    )  # fmt: skip


class TestOneProblem:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            pytest.param(problem("missing_share", "income"), problem("psi", "income"), id="broken input, its drift"),
            pytest.param(
                problem("faulty_features", "income"), problem("roc_auc", "age", "income"), id="broken, performance"
            ),
            pytest.param(
                problem("drifted_features", "income"), problem("drift_evidence", "income"), id="drift, slow drift"
            ),
            pytest.param(problem("silence"), problem("label_coverage"), id="no predictions, no labels"),
            pytest.param(problem("label_coverage"), problem("label_lag_p95"), id="labels missing, labels late"),
            pytest.param(problem("label_lag_p95"), problem("accuracy"), id="labels late, performance"),
            pytest.param(problem("roc_auc"), problem("log_loss"), id="two metrics of performance"),
            pytest.param(problem("roc_auc", segment="region:north"), problem("roc_auc"), id="a segment, the whole"),
            pytest.param(problem("latency_p99"), problem("latency_p99"), id="two limits of a metric"),
        ],
    )  # fmt: skip
    def test_is_what_shares_a_cause(self, one: KnownAlert, other: KnownAlert) -> None:
        assert is_one_problem(one, other)
        assert is_one_problem(other, one)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            pytest.param(problem("psi", "income"), problem("psi", "age", feature="age"), id="other features"),
            pytest.param(problem("silence"), problem("psi", "income"), id="no predictions, drift"),
            pytest.param(problem("latency_p99", "income"), problem("psi", "income"), id="slow requests, drift"),
            pytest.param(
                problem("roc_auc", segment="region:north"), problem("roc_auc", segment="region:south"),
                id="two segments",
            ),
            pytest.param(
                problem("psi", "income", days=(0, 3)), problem("faulty_features", "income", days=(3, 4)),
                id="one after the other",
            ),
        ],
    )  # fmt: skip
    def test_is_not_what_only_happens_at_the_same_time(self, one: KnownAlert, other: KnownAlert) -> None:
        assert not is_one_problem(one, other)
        assert not is_one_problem(other, one)

    def test_is_named_by_broken_data_before_missing_labels_before_drift_before_performance(self) -> None:
        metrics = ["roc_auc", "psi", "label_coverage", "silence", "missing_share", "latency_p99"]

        assert sorted(metrics, key=family_of) == [
            "missing_share", "silence", "label_coverage", "psi", "roc_auc", "latency_p99",
        ]  # fmt: skip


type Fires = Callable[..., Transition]


@pytest.fixture
def fires(model: Model, now: datetime) -> Fires:
    """Write a transition of a rule over a metric, which is made where there is none yet."""

    def write(
        metric: str, kind: str = "opened", *, days_ago: float = 0.1, severity: str = "warning",
        features: Sequence[str] = (), cause: str = "drift", value: float = 2.0, since: timedelta = DAY,
    ) -> Transition:  # fmt: skip
        rule, _ = Rule.objects.get_or_create(
            project=model.project, model=model, name=metric, metric=metric, threshold=0.5, severity=severity,
            defaults={"cooldown": DAY, "notify_within": 30 * DAY},
        )  # fmt: skip
        end = now - days_ago * DAY
        causes = [{"kind": cause, "feature": name, "score": 0.5, "evidence": "e"} for name in features]
        detail: dict[str, Any] = {"feature": "", "causes": causes, "since": (end - since).isoformat()}
        return Transition.objects.create(
            rule=rule, model=model, kind=kind, window_start=end - DAY, window_end=end, value=value, n=812,
            threshold=0.5, detail=detail,
        )  # fmt: skip

    return write


def handle(*transitions: Transition) -> None:
    for transition in transitions:
        handling.handle_transition(transition.pk)


def sent() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("event", flat=True))


class TestAFault:
    def test_of_an_import_is_one_incident_and_one_message_whatever_the_order_of_its_rules(
        self, fires: Fires, email: Channel
    ) -> None:
        performance = fires("log_loss", features=["income"], severity="critical")
        drift = fires("drifted_features", features=["income"], severity="warning", since=3 * DAY)
        broken = fires("faulty_features", features=["income"], cause="fault")

        handle(performance, drift, broken)

        incident = Incident.objects.get()
        assert incident.title == "flight-delay: 2 features fail quality checks (limit 0.5)"
        assert (incident.severity, incident.since) == ("critical", broken.since)
        assert incident.alerts.count() == 3
        assert sent() == ["incident.opened"]
        body = Delivery.objects.get().body
        assert "Alerts\n- flight-delay: 2 features fail" in body
        headline = " ".join(body.split("Severity:")[0].split())
        assert headline.endswith(f"since {broken.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")

    def test_with_alerts_that_come_one_by_one_sends_no_message_for_those_that_change_nothing(
        self, fires: Fires, email: Channel
    ) -> None:
        handle(fires("faulty_features", days_ago=3, features=["income"], severity="critical", cause="fault"))

        handle(fires("drifted_features", days_ago=2, features=["income"]))
        handle(fires("log_loss", days_ago=1, features=["income"]))

        incident = Incident.objects.get()
        assert sent() == ["incident.opened"]
        assert [event.kind for event in incident.events.order_by("pk")] == ["opened", "joined", "joined"]

    def test_that_turns_out_to_have_another_cause_is_updated_once(self, fires: Fires, email: Channel) -> None:
        handle(fires("drifted_features", days_ago=3, features=["income"]))

        handle(fires("faulty_features", days_ago=2, features=["income"], cause="fault"))

        incident = Incident.objects.get()
        assert incident.title.startswith("flight-delay: 2 features fail quality checks")
        assert incident.causes[0]["kind"] == "fault"
        assert sent() == ["incident.opened", "incident.updated"]
        assert Delivery.objects.last().subject.endswith(f"(updated, INC-{incident.pk})")  # type: ignore[union-attr]

    def test_of_a_second_feature_is_named_and_updated_although_its_rule_fires_already(
        self, fires: Fires, email: Channel
    ) -> None:
        handle(fires("faulty_features", days_ago=3, features=["age"], cause="fault", value=1))

        handle(fires("faulty_features", "still_firing", days_ago=2, features=["age"], cause="fault", value=1))
        assert sent() == ["incident.opened"]
        handle(fires("faulty_features", "still_firing", days_ago=1, features=["income"], cause="fault"))

        incident = Incident.objects.get()
        assert incident.title.startswith("flight-delay: 2 features fail quality checks")
        assert {cause["feature"] for cause in incident.causes} == {"age", "income"}
        assert sent() == ["incident.opened", "incident.updated"]

    def test_that_becomes_more_severe_is_updated_and_opens_for_who_takes_only_that(
        self, fires: Fires, email: Channel
    ) -> None:
        handle(fires("drifted_features", days_ago=3, features=["income"]))
        channel_services.create_channel(
            project=email.project, kind="email", name="pager", target="p@example.com", min_severity="critical",
            actor="ada",
        )  # fmt: skip

        handle(fires("log_loss", days_ago=1, features=["income"], severity="critical"))

        assert Incident.objects.get().severity == "critical"
        assert list(Delivery.objects.order_by("pk").values_list("channel__name", "event")) == [
            ("on call", "incident.opened"), ("on call", "incident.updated"), ("pager", "incident.opened"),
        ]  # fmt: skip

    def test_is_over_when_its_last_alert_is(self, fires: Fires, email: Channel) -> None:
        handle(fires("faulty_features", days_ago=5, features=["income"], cause="fault"))
        handle(fires("log_loss", days_ago=4, features=["income"]))

        handle(fires("faulty_features", "resolved", days_ago=3, value=0))
        assert Incident.objects.get().status == "open"
        last = fires("log_loss", "resolved", days_ago=1, value=0.1)
        handle(last)

        incident = Incident.objects.get()
        assert (incident.status, incident.resolved_at) == ("resolved", last.window_end)
        assert [event.kind for event in incident.events.order_by("pk")] == [
            "opened", "joined", "alert_resolved", "resolved",
        ]  # fmt: skip
        assert sent() == ["incident.opened", "incident.resolved"]

    def test_joins_no_notice_of_another_feature_that_was_odd_beside_it(self, fires: Fires) -> None:
        """A slow drift of weeks was joined by the fault of another feature, took its name and kept its own date."""
        slow = fires(
            "drift_evidence", days_ago=2, features=["age", "income"], severity="notice", since=20 * DAY
        )
        slow.detail["point"] = {"counted": ["age"]}
        slow.save()
        broken = fires("faulty_features", features=["income", "age"], cause="fault", severity="critical")
        broken.detail["point"] = {"counted": ["income"]}
        broken.save()

        handle(slow, broken)

        drift, fault = Incident.objects.order_by("pk")
        assert (drift.severity, drift.since) == ("notice", slow.since)
        assert (fault.severity, fault.since) == ("critical", broken.since)

    def test_of_added_up_evidence_says_from_when_to_when_it_may_have_begun(
        self, fires: Fires, email: Channel
    ) -> None:
        slow = fires("drift_evidence", features=["age"], since=20 * DAY)
        first, last = slow.since - 2 * DAY, slow.since + 3 * DAY
        slow.detail["point"] = {
            "onset": slow.since.isoformat(), "onset_from": first.isoformat(), "onset_to": last.isoformat(),
            "windows": 20,
        }  # fmt: skip
        slow.save()

        handle(slow)

        said = f"Since: {moment(slow.since)} (95 %: {first:%-d %b} to {last:%-d %b})"
        assert said in Delivery.objects.get().body

    def test_that_was_over_for_one_limit_goes_on_where_another_finds_that_it_was_not(
        self, fires: Fires, model: Model, email: Channel
    ) -> None:
        """One planted fault was two incidents: above 0.56 for six days, then above 0.55 since before these."""
        handle(fires("log_loss", days_ago=5), fires("log_loss", "resolved", days_ago=2, value=0.1))
        late = fires("log_loss", "still_firing", days_ago=1, since=4 * DAY)
        late.kind, late.rule = "opened", Rule.objects.create(
            project=model.project, model=model, name="graver", metric="log_loss", threshold=0.4,
            severity="critical", cooldown=DAY, notify_within=30 * DAY,
        )  # fmt: skip
        late.save()

        handle(late)

        incident = Incident.objects.get()
        assert (incident.status, incident.severity, incident.resolved_at) == ("open", "critical", None)
        assert incident.lead == incident.alerts.get(rule__name="graver")
        assert [event.kind for event in incident.events.order_by("pk")] == ["opened", "resolved", "reopened"]
        assert incident.timers.get().change_since is not None  # those who heard of its end hear of it again

    def test_that_never_was_takes_nothing_with_it(self, fires: Fires) -> None:
        """*Label coverage 0%* stayed open at 95% and swallowed a model that had become worse."""
        handle(fires("label_coverage", days_ago=3))
        ended = fires("label_coverage", "resolved", days_ago=1, value=0.95)
        ended.detail["corrected"] = True
        ended.save()

        handle(fires("f1", days_ago=2, value=0.62), ended)

        labels, worse = Incident.objects.order_by("pk")
        assert (labels.status, worse.status) == ("resolved", "open")
        assert [alert.metric for alert in worse.alerts.all()] == ["f1"]

    def test_of_many_windows_at_once_has_one_line_for_all_of_them(self, fires: Fires) -> None:
        """There were 54 lines of "still firing" within 37 seconds."""
        handle(fires("log_loss", days_ago=9))

        handle(*(fires("log_loss", "still_firing", days_ago=9 - day, value=day) for day in range(1, 9)))

        lines = list(Incident.objects.get().events.order_by("pk"))
        assert [line.kind for line in lines] == ["opened", "still_firing"]
        assert lines[1].text.startswith("Log loss 8 above")

    def test_of_another_feature_is_another_incident(self, fires: Fires) -> None:
        handle(fires("faulty_features", features=["income"], cause="fault"), fires("psi", features=["age"]))

        assert Incident.objects.count() == 2

    def test_after_one_that_is_over_is_another_incident(self, fires: Fires) -> None:
        handle(fires("faulty_features", days_ago=5, features=["income"], cause="fault"))
        handle(fires("faulty_features", "resolved", days_ago=4, value=0))

        handle(fires("drifted_features", days_ago=1, features=["income"]))

        assert [one.status for one in Incident.objects.order_by("pk")] == ["resolved", "open"]

    def test_closed_by_hand_joins_what_fires_of_it_later(self, fires: Fires, now: datetime) -> None:
        handle(fires("faulty_features", days_ago=3, features=["income"], cause="fault"))
        services.resolve(incident=Incident.objects.get(), actor="ada", now=now)
        handle(fires("log_loss", days_ago=2, features=["income"]))

        handle(fires("faulty_features", "still_firing", days_ago=1, features=["income"], cause="fault"))

        assert Incident.objects.count() == 2
        assert Alert.objects.filter(incident=Incident.objects.latest("pk"), state="firing").count() == 2

    def test_is_described_alert_by_alert_to_programs(self, fires: Fires, webhook: Channel) -> None:
        handle(
            fires("drifted_features", features=["income"]),
            fires("faulty_features", features=["income"], cause="fault"),
        )

        alerts = orjson.loads(Delivery.objects.get().body)["alerts"]
        assert [(one["labels"]["metric"], one["labels"]["kind"], one["state"]) for one in alerts] == [
            ("faulty_features", "quality", "firing"), ("drifted_features", "drift", "firing"),
        ]  # fmt: skip
