"""Objects of every list of the API, the n-th of each."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from driftline.base.accounts.models import AuditEntry, CustomRole, Invitation, Membership, Team, User
from driftline.base.accounts.services import create_token
from inference.edge.models import Device, DeviceGroup, Release, ReleaseTarget
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.lake.models import LakeFile
from inference.prediction_log.sources.dead_letters import RefusedMessage, bury
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import begin_partition
from inference.registry.models import Alias, Dataset, Version
from inference.registry.services import create_model
from inference.runtime.variants.kinds import KINDS
from monitors.alerts.models import Channel, Delivery, DeliveryAttempt, Incident, Silence
from monitors.annotations.models import Annotation
from monitors.definitions.models import (
    CustomMetric,
    Expectation,
    FeatureProfile,
    Reference,
    Segment,
    SegmentFeature,
)
from monitors.feed.services import record_event
from monitors.metrics.store.models import ChangePoint, MetricPoint, SegmentSearch
from monitors.optimiser.models import Variant
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.workflows.mlflow.models import MlflowReport, MlflowVersion
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from monitors.workflows.models import Run, Step
from monitors.workflows.pulls.models import Pull
from tests.worlds.every_kind import DAY, NOW, World, make_source
from tests.worlds.incidents import open_incident
from tests.worlds.points import store_points

type Add = Callable[[World, int], Any]


def add_model(world: World, n: int) -> None:
    model = create_model(project=world.model.project, name=f"model-{n}", task="binary", actor="test")
    SegmentFeature.objects.create(model=model, feature="a")
    model.deployment.champion = Version.objects.create(model=model, version="1")
    model.deployment.save()


def add_version(world: World, n: int) -> Version:
    version = Version.objects.create(model=world.model, version=f"v{n}")
    Alias.objects.create(model=world.model, name=f"alias-{n}", version=version)
    return version


def add_source(world: World, n: int) -> None:
    make_source(world.model, f"source-{n}")


def add_lake_file(world: World, n: int) -> None:
    day = date(2025, 1, 1) + timedelta(days=n)
    LakeFile.objects.create(
        model=world.model, day=day, number=0, path=f"{day}.parquet", state="waiting", due_at=datetime.now(UTC)
    )


def add_dead_letter(world: World, n: int) -> None:
    message = StreamMessage(partition="t/0", offset=n, value=b"{")
    bury(world.dead_letter.source_id, [RefusedMessage(message, "malformed_json", "It is cut.")])


def add_position(world: World, n: int) -> None:
    begin_partition(world.dead_letter.source_id, f"t/{n}", 0)


def add_variant(world: World, n: int) -> None:
    Variant.objects.create(
        version=world.version, kind=list(KINDS)[n] if n < len(KINDS) else f"old-{n}", generation=1,
        status="gain", reason="Faster.", machine="none", registered=add_version(world, n),
    )  # fmt: skip


def add_feature(world: World, n: int) -> None:
    FeatureProfile.objects.create(model=world.model, feature=f"feature-{n}", centre=0.0)
    Expectation.objects.create(model=world.model, feature=f"feature-{n}", least=0.0)


def add_import(world: World, n: int) -> None:
    Import.objects.create(
        model=world.model, kind="labels", file_name=f"{n}.csv", path=f"imports/{n}", is_upload=True, state="done",
        sha256=str(n) * 64, size=9, format="csv", layout={}, total=9, created_by="test",
    )  # fmt: skip


def add_file(world: World, n: int) -> None:
    UploadedFile.objects.create(
        model=world.model, file_name=f"{n}.csv", path=f"imports/.waiting-{n}", sha256=str(n) * 64, size=9,
        created_by="test",
    )  # fmt: skip


def add_dataset(world: World, n: int) -> Dataset:
    return Dataset.objects.create(
        model=world.model, version=add_version(world, n), kind="reference", path=str(n), sha256=str(n) * 64, rows=n,
        columns=["a"],
    )  # fmt: skip


def add_reference(world: World, n: int) -> None:
    dataset = add_dataset(world, n)
    assert dataset.version is not None
    Reference.objects.create(model=world.model, version=dataset.version, dataset=dataset)


def add_segment(world: World, n: int) -> None:
    Segment.objects.create(
        model=world.model, name=f"segment-{n}", conditions=[{"feature": "a", "value": str(n)}], since=NOW
    )


def add_custom_metric(world: World, n: int) -> None:
    CustomMetric.objects.create(
        model=world.model, name=f"metric-{n}", expression="mean(a)", kinds={"a": "number"}, since=NOW
    )


def add_annotation(world: World, n: int) -> None:
    Annotation.objects.create(model=world.model, start=NOW - n * DAY, text=f"note {n}", created_by="test")


def add_point(world: World, n: int) -> None:
    store_points(
        MetricPoint(
            model=world.model, role="champion", span="day", start=NOW - n * DAY, metric="psi", feature="b", value=0.1,
            n=1, threshold=0.2, status="ok", detail={"why": "calibrated"},
        )
    )  # fmt: skip


def add_change(world: World, n: int) -> None:
    ChangePoint.objects.create(
        model=world.model, role="champion", version="1", span="day", detector="adwin", error="mae", at=NOW - n * DAY,
        noticed_at=NOW, before=1.0, after=2.0, n_before=9, n_after=3,
    )  # fmt: skip


def add_search(world: World, n: int) -> None:
    SegmentSearch.objects.create(
        model=world.model, start=NOW - n * DAY, end=NOW, loss="brier", requested_by="test"
    )


def add_rule(world: World, n: int) -> Rule:
    rule = Rule.objects.create(
        project=world.model.project, model=world.model, name=f"rule-{n}", metric="f1", threshold=0.5, cooldown=DAY,
        notify_within=DAY,
    )  # fmt: skip
    RuleState.objects.create(rule=rule)
    return rule


def add_transition(world: World, n: int) -> Transition:
    return Transition.objects.create(
        rule=add_rule(world, n), model=world.model, kind="opened", window_start=NOW - DAY, window_end=NOW, n=1,
        threshold=0.5,
    )  # fmt: skip


def add_run(world: World, n: int) -> Run:
    run = Run.objects.create(
        model=world.model, transition=add_transition(world, n), trigger="test", data_until=NOW, state="promoted",
        champion=world.version, challenger=add_version(world, n),
    )  # fmt: skip
    Step.objects.create(run=run, position=0, name="train")
    Step.objects.create(run=run, position=1, name="gate")
    return run


def add_mlflow_version(world: World, n: int) -> MlflowVersion:
    run = add_run(world, n)
    taken = MlflowVersion.objects.create(
        model=world.model, url="https://mlflow.example.com", registered_model="flights", number=str(n), run=run,
        version=run.challenger, state=MlflowVersion.State.COMPARED,
    )  # fmt: skip
    MlflowReport.objects.create(taken=taken)
    return taken


def add_pull(world: World, n: int) -> Pull:
    run = add_run(world, n)
    return Pull.objects.create(
        model=world.model, source=Pull.Source.URL, url=f"https://example.com/{n}.onnx", state=Pull.State.COMPARED,
        run=run, version=run.challenger, created_by="test",
    )  # fmt: skip


def add_registry_import(world: World, n: int) -> RegistryImport:
    return RegistryImport.objects.create(
        project=world.model.project, url=f"https://mlflow-{n}.example.com", created_by="test"
    )


def add_imported_model(world: World, n: int) -> ImportedModel:
    version = add_version(world, n)
    row = ImportedModel.objects.create(
        registry_import=world.registry_import, registered_model=f"m{n}", name=f"m{n}", model=version.model
    )
    for number in range(2):
        ImportedVersion.objects.create(imported=row, position=number, number=str(number), version=version)
    return row


def add_incident(world: World, n: int) -> Incident:
    transition = add_run(world, n).transition
    assert transition is not None
    return open_incident(
        transition, acknowledged_by=User.objects.create_user(f"user-{n}@example.com"), opened_at=NOW
    )


def add_group(world: World, n: int) -> None:
    DeviceGroup.objects.create(project=world.model.project, model=world.model, name=f"group-{n}")


def add_device(world: World, n: int) -> Device:
    return Device.objects.create(
        project=world.model.project, group=world.device.group, name=f"device{n}", created_by="test"
    )


def add_release(world: World, n: int) -> None:
    release = Release.objects.create(
        group=world.device.group,
        version=add_version(world, n),
        rings=[100],
        abort_share=0.2,
        state="completed",
    )
    ReleaseTarget.objects.create(release=release, device=add_device(world, n), ring=0)


def add_channel(world: World, n: int) -> Channel:
    return Channel.objects.create(
        project=world.model.project, kind="email", name=f"mail-{n}", target="a@example.com"
    )


def add_silence(world: World, n: int) -> None:
    Silence.objects.create(
        project=world.model.project, model=world.model, start=NOW, end=NOW + n * DAY, reason="works",
        created_by="test",
    )  # fmt: skip


def add_delivery(world: World, n: int) -> None:
    delivery = Delivery.objects.create(
        channel=add_channel(world, n), incident=add_incident(world, n), event="incident.opened",
        event_id=f"evt_{n}", body="text",
    )  # fmt: skip
    DeliveryAttempt.objects.create(delivery=delivery, succeeded=False, duration_ms=1)


def add_report(world: World, n: int) -> None:
    reference = Reference.objects.create(
        model=world.model, version=add_version(world, n), kind="trailing", length=14
    )
    Report.objects.create(
        model=world.model, start=NOW - DAY, end=NOW, created_by="test", version=reference.version, reference=reference
    )  # fmt: skip


def add_erasure(world: World, n: int) -> None:
    request_erasure(project=world.model.project, key=f"person-{n}", actor="test")


def add_audit_entry(world: World, n: int) -> None:
    AuditEntry.objects.create(project=world.model.project, actor="test", action="test", subject=str(n))


def add_event(world: World, n: int) -> None:
    record_event(
        project=world.model.project,
        model=world.model,
        kind="run.cancelled",
        subject=f"run-{n}",
        text="cancelled",
    )


def add_member(world: World, n: int) -> None:
    user = User.objects.create_user(f"member-{n}@example.com")
    Membership.objects.create(project=world.model.project, user=user)


def add_invitation(world: World, n: int) -> None:
    Invitation.objects.create(
        project=world.model.project, email=f"guest-{n}@example.com", role="viewer", created_by="test", expires_at=NOW
    )  # fmt: skip


def add_token(world: World, n: int) -> None:
    user = User.objects.create_user(f"of-token-{n}@example.com")
    create_token(
        project=world.model.project, name=f"token {n}", scopes=["read"], actor="test", created_by=user
    )


def add_role(world: World, n: int) -> None:
    CustomRole.objects.create(project=world.model.project, name=f"role-{n}", scopes=["read"])


def add_team(world: World, n: int) -> None:
    user = User.objects.create_user(f"of-team-{n}@example.com")
    member = Membership.objects.create(project=world.model.project, user=user)
    Team.objects.create(project=world.model.project, name=f"team {n}").members.add(member)
