"""A project whose model drifted: real points, an incident with its message, and a run with paired evidence."""

import json
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from django.conf import settings
from django.core import signing
from django.utils import timezone

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import ApiToken, CustomRole, Project, User
from driftline.base.accounts.services import create_project, create_token, rotate_token
from driftline.base.periods import Period
from driftline.operations.models import AppliedConfiguration
from inference.edge.groups import create_group
from inference.edge.models import Device, DeviceGroup, Release, ReleaseTarget
from inference.registry.models import Model
from inference.serving.crashes import QUARANTINE_FILE
from monitors.alerts.incidents.handling import handle_transition as alert
from monitors.alerts.models import Channel, Incident, Silence
from monitors.alerts.sending.channel_services import create_channel
from monitors.alerts.sending.links import Act, link_of
from monitors.alerts.silences import create_silence
from monitors.annotations.models import Annotation
from monitors.annotations.services import create_annotation
from monitors.definitions.custom_metrics.services import define_metric
from monitors.definitions.models import CustomMetric, Segment
from monitors.definitions.segments import declare_segment, set_segments
from monitors.digests.letter import SALT
from monitors.metrics.rows.segment_search import do_search, request_search
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from monitors.stats.promotion.gate import GatePolicy, judge
from monitors.stats.promotion.paired import compare_pairs
from monitors.workflows.context import to_json
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from monitors.workflows.models import Run, RunState, Step
from monitors.workflows.pulls.models import Pull
from monitors.workflows.steps import STEPS
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work

PASSWORD = "correct horse battery"
DAYS = 9
SHIFTED_FROM = 6
BESIDE = "?from=2026-01-11&to=2026-01-13&with_from=2026-01-08&with_to=2026-01-10"  # where it shifts
LONG_AGO = timedelta(days=3650)


@dataclass(frozen=True)
class World:
    owner: User
    project: Project
    model: Model
    rule: Rule
    incident: Incident
    run: Run
    segment: Segment
    custom_metric: CustomMetric
    annotation: Annotation
    silence: Silence
    channel: Channel
    devices: DeviceGroup
    token: ApiToken

    @property
    def pages(self) -> dict[str, str]:
        """Every page by a short name."""
        model, name = self.model, f"/models/{self.model.name}"
        return {
            "overview": "/",
            "models": "/models/",
            "new model": "/models/new",
            "health": f"{name}/",
            "drift": f"{name}/drift",
            "numeric feature": f"{name}/features/income",
            "categorical feature": f"{name}/features/region",
            "performance": f"{name}/performance",
            "numbers compared": f"{name}/features/income{BESIDE}",
            "categories compared": f"{name}/features/region{BESIDE}",
            "performance compared": f"{name}/performance{BESIDE}",
            "annotations": f"{name}/annotations",
            "annotation": f"{name}/annotations/{self.annotation.pk}",
            "annotation's end": f"{name}/annotations/{self.annotation.pk}/delete",
            "segments": f"{name}/segments",
            "segment's end": f"{name}/segments/{self.segment.pk}/remove",
            "custom metrics": f"{name}/custom-metrics",
            "custom metric": f"{name}/custom-metrics/{self.custom_metric.pk}",
            "custom metric's end": f"{name}/custom-metrics/{self.custom_metric.pk}/delete",
            "latency": f"{name}/latency",
            "shadow": f"{name}/shadow?challenger=2&evidence=1",
            "reports": f"{name}/reports",
            "predictions": f"{name}/predictions?segment=region:north&labelled=true",
            "predictions without a match": f"{name}/predictions?segment=region:west",
            "prediction": f"{name}/predictions/{DAY:%Y%m%d}-0",
            "reference": f"{name}/reference",
            "reference's end": f"{name}/references/{self.model.references.get().pk}/delete",
            "import": f"{name}/import",
            "model settings": f"{name}/settings",
            "model's end": f"{name}/delete",
            "versions": f"{name}/versions",
            "version's end": f"{name}/versions/2/delete",
            "version": f"{name}/versions/2",
            "pulls": f"{name}/pulls",
            "imports from MLflow": "/mlflow-imports/",
            "import from MLflow": f"/mlflow-imports/{RegistryImport.objects.get().pk}",
            "promotion": f"{name}/deployment?do=promote&version=2",
            "name": f"{name}/alias?do=remove&alias=stable",
            "quarantine": f"{name}/versions/2/quarantine",
            "runs": f"{name}/runs",
            "run": f"{name}/runs/{self.run.pk}",
            "rules": f"{name}/rules",
            "new rule": f"{name}/rules/new",
            "rule": f"{name}/rules/{self.rule.pk}",
            "rule's end": f"{name}/rules/{self.rule.pk}/delete",
            "incidents": "/incidents/?status=all",
            "incident": f"/incidents/{self.incident.pk}",
            "devices": "/devices/",
            "group of devices": f"/devices/groups/{self.devices.pk}",
            "device's end": f"/devices/{self.devices.devices.get(name='forklift-a').pk}/revoke",
            "tokens": "/settings/tokens",
            "token": f"/settings/tokens/{self.token.pk}",
            "own token": f"/accounts/profile/tokens/{self.token.pk}/",
            "roles": "/settings/roles",
            "role": f"/settings/roles/{self.project.custom_roles.get().pk}",
            "role's end": f"/settings/roles/{self.project.custom_roles.get().pk}/remove",
            "teams": "/settings/teams",
            "sink": "/settings/sink",
            "sink's end": "/settings/sink/stop",
            "profile": "/accounts/profile/",
            "sessions": "/accounts/sessions/",
            "projects": "/accounts/projects/",
            "project": "/settings/project",
            "project's end": "/settings/project?do=archive",
            "audit": "/settings/audit",
            "members": "/settings/members",
            "member": f"/settings/members/{self.owner.memberships.get(project=self.project).pk}",
            "member's end": f"/settings/members/{self.owner.memberships.get(project=self.project).pk}/remove",
            "channels": "/settings/channels",
            "channel": f"/settings/channels/{self.channel.pk}",
            "channel's end": f"/settings/channels/{self.channel.pk}/delete",
            "routing": "/settings/routing?labels=severity%3Dcritical",
            "link that acts": self.link_of(Act.ACKNOWLEDGE),
            "link that needs a role": self.link_of(Act.SILENCE),
            "silences": "/settings/silences",
            "silence for an incident": f"/settings/silences?incident={self.incident.pk}",
            "silence's end": f"/settings/silences/{self.silence.pk}/end",
            "as code": "/settings/configuration",
            "privacy": "/settings/privacy",
            "background": "/settings/background",
            "display": "/accounts/display/",
            "digest": "/accounts/digest/",
            "end of digests": f"/accounts/digest/unsubscribe/{signing.dumps(1, salt=SALT)}/",
            "start": f"/start/?model={model.name}",
            "start with csv": "/start/?with=csv",
            "missing": "/models/none/",
        }

    def link_of(self, act: Act) -> str:
        """Return the path of a link that was sent just now."""
        address = link_of(act, self.incident, self.channel, at=timezone.now())
        return address[address.index("/p/") :]


def furnish() -> World:
    """Let a bank's model drift on its seventh day, and answer as the workers would."""
    owner = User.objects.create_user("owner@bank.example", PASSWORD)
    project = create_project(slug="bank", name="Bank", owner=owner)
    model = make_model(project)
    give_reference(model)
    CustomRole.objects.create(project=project, name="labeller", scopes=["label", "read"])
    create_channel(project=project, kind="email", name="team", target="team@bank.example", actor="test")
    hook, _ = create_channel(
        project=project, kind="webhook", name="pager", target="https://93.184.215.14/hooks/T024BE7LD", actor="test",
        min_severity="critical",
    )  # fmt: skip
    rule = create_rule(
        project=project, model=model, actor="test", name="income moved", metric="psi", feature="income",
        threshold=0.2, for_windows=2, notify_within=LONG_AGO,
    )  # fmt: skip
    segment, custom_metric = segments(model), own_metric(model)
    send_days(model)
    search_segments(model)
    alert(Transition.objects.get(rule=rule, kind="opened").pk)
    run = waiting_run(model)
    name_and_hold_back(model)
    incident = Incident.objects.get(alerts__rule=rule)
    configure(project, rule)
    take_from_elsewhere(model)
    return World(
        owner,
        project,
        model,
        rule,
        incident,
        run,
        segment,
        custom_metric,
        annotate(model),
        silences(model),
        hook,
        devices(model),
        rotated_token(project, owner),
    )


def take_from_elsewhere(model: Model) -> None:
    """Have one version pulled that came and one that did not, and a registry imported in part."""
    version, project = model.versions.get(version="2"), model.project
    Pull.objects.create(
        model=model, source="hugging_face", url="https://huggingface.co/x", repository="bank/approvals",
        revision="main", file="onnx/model.onnx", commit="5f3c" * 10, state="registered", version=version,
        created_by="test",
    )  # fmt: skip
    Pull.objects.create(
        model=model, source="url", url=f"https://models.example.com/{'long/' * 30}model.onnx", state="failed",
        error="The receiver answered 404: Entry not found", created_by="test",
    )  # fmt: skip
    registry = RegistryImport.objects.create(
        project=project, url="https://mlflow.example.com", state="listed", created_by="test"
    )
    came = ImportedModel.objects.create(
        registry_import=registry, registered_model="approvals", name="approvals", state="done", model=model
    )
    ImportedVersion.objects.create(
        imported=came, position=0, number="7", aliases="champion", outcome="imported", version=version
    )
    ImportedVersion.objects.create(
        imported=came,
        position=1,
        number="8",
        outcome="refused",
        reason="It has the flavor sklearn and no ONNX.",
    )
    ImportedModel.objects.create(
        registry_import=registry, registered_model="Fraud, of cards", name="Fraud-of-cards",
        naming_fault="It is called Fraud-of-cards here.",
    )  # fmt: skip


def rotated_token(project: Project, owner: User) -> ApiToken:
    """A token for two networks, with a secret of before that is still valid."""
    token, _ = create_token(
        project=project, name="billing", scopes=[Scope.INFER], actor=owner.email, created_by=owner,
        allowed_networks=["10.4.0.0/16", "2001:db8::/32"],
    )  # fmt: skip
    rotate_token(token=token, scopes=[Scope.INFER], actor=owner.email, now=timezone.now())
    return token


def devices(model: Model) -> DeviceGroup:
    """Have a group with a version, and another one on its way, which failed on one of three devices."""
    group = create_group(model=model, name="forklifts", actor="owner@bank.example")
    now = timezone.now()
    made = [
        Device.objects.create(
            project=model.project, group=group, name=f"forklift-{letter}", created_by="test", enrolled_at=now,
            last_seen_at=now - timedelta(minutes=age), machine="Linux x86_64", version="1", skew_ms=skew,
            unsent_rows=unsent, failure=failure,
        )
        for letter, age, skew, unsent, failure in (
            ("a", 1, 340, 12, ""), ("b", 1, -86_400_000, 5_210, "it answers NaN or infinity to rows of before"),
            ("c", 300, None, 0, ""),
        )
    ]  # fmt: skip
    past = {"rings": [1, 10, 100], "abort_share": 0.5, "created_by": "owner@bank.example"}
    first = model.versions.get(version="1")
    Release.objects.create(group=group, version=first, ring=2, state="completed", ended_at=now, **past)
    moving = Release.objects.create(group=group, version=model.versions.get(version="2"), ring=2, **past)
    states = ("succeeded", "failed", "waiting")
    for device, state in zip(made, states, strict=True):
        ReleaseTarget.objects.create(
            release=moving, device=device, ring=2, state=state, failure=device.failure
        )
    return group


def configure(project: Project, rule: Rule) -> None:
    """Apply a document, which differs from the rule as it is now and names a channel that is missing."""
    fields = {"metric": rule.metric, "feature": rule.feature, "threshold": 0.3}
    document = {
        "models": {rule.model.name: {"owner": "risk team", "rules": {rule.name: fields}}},
        "channels": {"on call": {"kind": "email", "target": "oncall@bank.example"}},
    }
    AppliedConfiguration.objects.create(
        project=project, document=document, applied_at=DAY, applied_by="ana@bank.example"
    )


def silences(model: Model) -> Silence:
    """Silence the model while it drifts, and every model before."""
    shift = DAY + timedelta(days=SHIFTED_FROM)
    create_silence(
        project=model.project,
        model=None,
        start=DAY,
        end=shift,
        reason="the warehouse was moved",
        actor="test",
    )
    return create_silence(
        project=model.project, model=model, start=shift + timedelta(days=2), end=shift + timedelta(days=30),
        reason="the currency is being repaired", actor="test",
    )  # fmt: skip


def annotate(model: Model) -> Annotation:
    """Note a moment, and an interval with a link."""
    shift = DAY + timedelta(days=SHIFTED_FROM)
    create_annotation(
        model=model, start=shift - timedelta(days=4), end=shift - timedelta(days=2), text="spring campaign",
        link="https://wiki.example/campaign", actor="test",
    )  # fmt: skip
    return create_annotation(model=model, start=shift, text="incomes come in another currency", actor="test")


def name_and_hold_back(model: Model) -> None:
    """Give the challenger a name, and the crashes for which it is held back."""
    version = model.versions.get(version="2")
    model.aliases.create(name="stable", version=version)
    crashes = {
        str(version.pk): {
            "at": [1e9, 1e9, 1e9],
            "reason": "crashed a serving process (SIGSEGV)",
            "quarantined": True,
        }
    }
    (settings.HOME / QUARANTINE_FILE).write_text(json.dumps(crashes))


def segments(model: Model) -> Segment:
    """Watch a segment and each region."""
    set_segments(model=model, features=["region"], actor="test")
    rich_north = [{"feature": "region", "value": "north"}, {"feature": "income", "lower": 0.5}]
    return declare_segment(model=model, name="rich north", conditions=rich_north, actor="test")


def search_segments(model: Model) -> None:
    """Search the default range for the segments that grew, and for those in which the model is worst."""
    window = Period(DAY, DAY + timedelta(days=DAYS))
    for loss in ("", "log_loss"):
        do_search(request_search(model=model, window=window, loss=loss, actor="test").pk)


def own_metric(model: Model) -> CustomMetric:
    """Measure what wrong answers cost."""
    return define_metric(
        model=model, name="cost a customer", expression="cost(fp=5, fn=100, tn=-1)", unit="EUR",
        lower_is_better=True, actor="test",
    )  # fmt: skip


def send_days(model: Model) -> None:
    """Log the days with their labels, and measure them all at once."""
    for number in range(DAYS):
        day = DAY + timedelta(days=number)
        rows = rows_of_a_day(day, 300, shift=2.0 if number >= SHIFTED_FROM else 0.0)
        log(model, rows)
        label(model, truths(rows))
    work(model)


def waiting_run(model: Model) -> Run:
    """A run that waits for a person, with the gate's evidence on pairs drawn here."""
    champion = model.versions.get(version="1")
    challenger = model.versions.create(version="2", signature=champion.signature)
    run = Run.objects.create(
        model=model, trigger="rule income moved", state=RunState.WAITING, needs="person", data_until=timezone.now(),
        champion=champion, challenger=challenger, waiting_for="a person to approve the promotion",
    )  # fmt: skip
    for position, name in enumerate(STEPS):
        Step.objects.create(run=run, position=position, name=name, state="done", evidence={"rows": 600})
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 600), rng.uniform(size=600)
    better = np.clip(0.5 * score + 0.5 * truth, 0.01, 0.99)
    found = compare_pairs(
        task="binary", y=truth, champion=score, challenger=better, block=np.arange(600) // 60
    )
    evidence = {"comparison": to_json(found), "verdict": to_json(judge(found, GatePolicy("log_loss")))}
    run.steps.filter(name="gate").update(evidence=evidence)
    run.steps.filter(name="promote").update(state="waiting", evidence={})
    return run
