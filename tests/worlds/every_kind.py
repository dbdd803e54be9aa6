"""One object of every kind in a project, so that every address has something to find."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO

from django.conf import settings

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import ApiToken, CustomRole, Invitation, Membership, Project, Team, User
from driftline.base.accounts.services import create_token
from driftline.base.keys.secrets_at_rest import encrypt
from driftline.base.periods import rfc3339
from inference.edge.models import Device, DeviceGroup, Release
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.imports.bad_rows import path_of
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.imports.staging import path_of as staged_path
from inference.prediction_log.imports.staging import stage_file
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.sources.dead_letters import RefusedMessage, bury
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source, SourcePosition
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.registry.models import Alias, Dataset, Model, Version
from inference.registry.services import create_model
from monitors.alerts.models import Channel, Delivery, Incident, Silence
from monitors.annotations.models import Annotation
from monitors.definitions.models import CustomMetric, FeatureProfile, Reference, Segment, SegmentFeature
from monitors.metrics.store.models import MetricPoint, SegmentSearch
from monitors.optimiser.models import Variant
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.sinks.models import Sink, SinkStream
from monitors.sinks.settings import SinkSettings
from monitors.workflows.mlflow.models import MlflowConnection
from monitors.workflows.mlflow.registry_imports.models import RegistryImport
from monitors.workflows.models import Run
from monitors.workflows.pulls.models import Pull
from tests.worlds.incidents import open_incident
from tests.worlds.points import store_points

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
WAITING = b"a;label\n1,5;1\n"


@dataclass(frozen=True)
class World:
    """The objects of one project, by the names that paths have for them."""

    model: Model
    version: Version
    rule: Rule
    channel: Channel
    silence: Silence
    incident: Incident
    delivery: Delivery
    run: Run
    report: Report
    search: SegmentSearch
    segment: Segment
    custom_metric: CustomMetric
    annotation: Annotation
    job: Import
    file: UploadedFile
    dataset: Dataset
    reference: Reference
    erasure: Erasure
    pull: Pull
    registry_import: RegistryImport
    prediction_id: str
    revocable: ApiToken
    device: Device
    dead_letter: DeadLetter
    member: Membership
    invitation: Invitation
    team: Team
    role: CustomRole

    def fill(self, path: str) -> str:
        """Put the names and numbers of these objects into a path's places; the file that waits has its content."""
        if not staged_path(self.file).exists():
            staged_path(self.file).write_bytes(WAITING)
        places = {
            "<name>": self.model.name,
            "<version>": self.version.version,
            "<alias>": "stable",
            "<kind>": "optimised",
            "<monitor>": "drift",
            "<path:prediction_id>": self.prediction_id,
            "<int:rule_id>": str(self.rule.pk),
            "<int:channel_id>": str(self.channel.pk),
            "<int:silence_id>": str(self.silence.pk),
            "<int:incident_id>": str(self.incident.pk),
            "<int:delivery_id>": str(self.delivery.pk),
            "<int:run_id>": str(self.run.pk),
            "<int:report_id>": str(self.report.pk),
            "<int:search_id>": str(self.search.pk),
            "<int:segment_id>": str(self.segment.pk),
            "<int:custom_metric_id>": str(self.custom_metric.pk),
            "<int:annotation_id>": str(self.annotation.pk),
            "<int:import_id>": str(self.job.pk),
            "<int:file_id>": str(self.file.pk),
            "<int:dataset_id>": str(self.dataset.pk),
            "<int:reference_id>": str(self.reference.pk),
            "<int:erasure_id>": str(self.erasure.pk),
            "<int:letter_id>": str(self.dead_letter.pk),
            "<int:registry_import_id>": str(self.registry_import.pk),
            "mlflow-imports/<int:pk>": f"mlflow-imports/{self.registry_import.pk}",
            "<int:pull_id>": str(self.pull.pk),
            "<int:device_id>": str(self.device.pk),
            "<int:group_id>": str(self.device.group_id),
            "<sha256>": "0" * 64,
            "<path:key>": "somebody",
            "runs/<int:pk>": f"runs/{self.run.pk}",
            "files/<int:pk>": f"files/{self.file.pk}",
            "datasets/<int:pk>": f"datasets/{self.dataset.pk}",
            "references/<int:pk>": f"references/{self.reference.pk}",
            "imports/<int:pk>": f"imports/{self.job.pk}",
            "segments/<int:pk>": f"segments/{self.segment.pk}",
            "custom-metrics/<int:pk>": f"custom-metrics/{self.custom_metric.pk}",
            "annotations/<int:pk>": f"annotations/{self.annotation.pk}",
            "reports/<int:pk>": f"reports/{self.report.pk}",
            "channels/<int:pk>": f"channels/{self.channel.pk}",
            "sources/<int:pk>": f"sources/{self.dead_letter.source_id}",
            "silences/<int:pk>": f"silences/{self.silence.pk}",
            "rules/<int:pk>": f"rules/{self.rule.pk}",
            "incidents/<int:pk>": f"incidents/{self.incident.pk}",
            "devices/<int:pk>": f"devices/{self.device.pk}",
            "groups/<int:pk>": f"groups/{self.device.group_id}",
            "tokens/<int:pk>": f"tokens/{self.revocable.pk}",
            "<int:token_id>": str(self.revocable.pk),
            "<int:member_id>": str(self.member.pk),
            "members/<int:pk>": f"members/{self.member.pk}",
            "<slug>": self.model.project.slug,
            "<int:role_id>": str(self.role.pk),
            "roles/<int:pk>": f"roles/{self.role.pk}",
            "<int:team_id>": str(self.team.pk),
            "teams/<int:pk>": f"teams/{self.team.pk}",
            "<int:invitation_id>": str(self.invitation.pk),
            "<path:feature>": "a",
            "mlflow/<token>": f"mlflow/{self.model.mlflow.webhook_token}",
            "docs/<path:path>": "docs/index.html",
        }
        for place, value in places.items():
            path = path.replace(place, value)
        return path


def furnish(project: Project, name: str = "flights") -> World:
    """Make one object of every kind in `project`."""
    model = create_model(project=project, name=name, task="binary", actor="test")
    item = prediction("p1")
    log_predictions(model=model, batch=PredictionBatch(columns_of([item], task=model.task)), now=NOW)
    version = model.versions.get()
    Alias.objects.create(model=model, name="stable", version=version)
    Variant.objects.create(
        version=version, kind="optimised", generation=1, status="no_gain", reason="No gain.", machine="none"
    )
    dataset = Dataset.objects.create(
        model=model, version=version, kind="reference", path="none", sha256="0" * 64, rows=1, columns=["a"]
    )
    reference = Reference.objects.create(model=model, version=version, dataset=dataset)
    FeatureProfile.objects.create(model=model, feature="a", centre=0.0)
    store_points(
        MetricPoint(
            model=model, role="champion", span="day", start=NOW - DAY, metric="psi", feature="a", value=0.1, n=1,
            threshold=0.2, status="ok",
        )
    )  # fmt: skip
    rule = Rule.objects.create(
        project=project,
        model=model,
        name="r",
        metric="accuracy",
        threshold=0.5,
        cooldown=DAY,
        notify_within=DAY,
    )
    RuleState.objects.create(rule=rule)
    transition = Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=NOW - DAY, window_end=NOW, n=1, threshold=0.5
    )
    incident = open_incident(transition, title="Accuracy fell")
    channel = Channel.objects.create(project=project, kind="email", name="mail", target="a@example.com")
    delivery = Delivery.objects.create(
        channel=channel, incident=incident, event="incident.opened", event_id="evt_1", body="text"
    )
    silence = Silence.objects.create(
        project=project, model=model, start=NOW, end=NOW + DAY, reason="works", created_by="test"
    )
    run = Run.objects.create(
        model=model, transition=transition, trigger="test", data_until=NOW, champion=version, needs="person"
    )
    search = SegmentSearch.objects.create(
        model=model, start=NOW - DAY, end=NOW, loss="log_loss", requested_by="test"
    )
    SegmentFeature.objects.create(model=model, feature="a")
    segment = Segment.objects.create(
        model=model, name="low", conditions=[{"feature": "a", "upper": 1.0}], since=NOW
    )
    custom_metric = CustomMetric.objects.create(
        model=model, name="mean of a", expression="mean(a)", kinds={"a": "number"}, since=NOW
    )
    annotation = Annotation.objects.create(model=model, start=NOW - DAY, text="new prices", created_by="test")
    report = Report.objects.create(
        model=model, start=NOW - DAY, end=NOW, state=Report.State.READY, path="report.html", created_by="test"
    )
    job = Import.objects.create(
        model=model, kind="predictions", file_name="a.csv", path="imports/a", is_upload=True, sha256="0" * 64, size=9,
        format="csv", layout={"own": []}, total=9, bad_rows=1, bad_bytes=1, created_by="test",
    )  # fmt: skip
    file = stage_file(model=model, stream=BytesIO(WAITING), name="waits.csv", actor="test")
    erasure = request_erasure(project=project, key="somebody else", actor="test")
    path_of(job).write_text("a")
    (settings.HOME / "report.html").write_text("<p>report</p>")
    MlflowConnection.objects.create(
        model=model, url="https://mlflow.example.com", registered_model="flights", webhook_token=f"t{model.pk}",
        webhook_secret=encrypt("test"),
    )  # fmt: skip
    pull = Pull.objects.create(
        model=model, source="url", url="https://example.com/m.onnx", state="failed", created_by="test"
    )
    registry_import = RegistryImport.objects.create(
        project=project, url="https://mlflow.example.com", state="listed", created_by="test"
    )
    Lake.objects.create(project=project, settings=LakeSettings(bucket="lake").model_dump(mode="json"))
    sink = Sink.objects.create(
        project=project, settings=SinkSettings(brokers=["203.0.113.1:9093"], security="tls").model_dump(mode="json"),
        failing_since=NOW, error="The brokers do not answer.",
    )  # fmt: skip
    SinkStream.objects.create(sink=sink, kind="events")
    LakeFile.objects.create(
        model=model, day=NOW.date(), number=0, path=f"model=flights/part-{model.pk}-0.parquet", due_at=NOW,
        state="done", rows=5, written_at=NOW,
    )  # fmt: skip
    group = DeviceGroup.objects.create(project=project, model=model, name="trucks")
    device = Device.objects.create(
        project=project, group=group, name="truck", created_by="test", enrolled_at=NOW
    )
    Release.objects.create(group=group, version=version, rings=[1, 100], abort_share=0.2, created_by="test")
    revocable, _ = create_token(project=project, name="old", scopes=["read"], actor="test")
    return World(
        model,
        version,
        rule,
        channel,
        silence,
        incident,
        delivery,
        run,
        report,
        search,
        segment,
        custom_metric,
        annotation,
        job,
        file,
        dataset,
        reference,
        erasure,
        pull,
        registry_import,
        item.id,
        revocable,
        device,
        make_source(model, model.name),
        Membership.objects.create(
            project=project, user=User.objects.create_user(f"member@{project.slug}.example")
        ),
        Invitation.objects.create(
            project=project,
            email="guest@example.com",
            role=Role.VIEWER,
            created_by="test",
            expires_at=datetime.now(UTC) + DAY,
        ),
        Team.objects.create(project=project, name="risk"),
        CustomRole.objects.create(project=project, name="labeller", scopes=["label", "read"]),
    )


def make_source(model: Model, name: str) -> DeadLetter:
    """Make a source with brokers that are away, with a partition and a message that could not be stored."""
    source = Source.objects.create(
        project=model.project, model=model, name=name, kind="kafka", what="predictions",
        settings=KafkaSettings(brokers=["203.0.113.1:9093"], topics=["t"], security="tls").model_dump(),
        mapping=SourceMapping().model_dump(),
    )  # fmt: skip
    SourcePosition.objects.create(source=source, partition="t/0", next_offset=1, end_offset=3)
    bury(
        source.pk,
        [
            RefusedMessage(
                StreamMessage(partition="t/0", offset=0, value=b"{"), "malformed_json", "It is cut."
            )
        ],
    )
    return DeadLetter.objects.get(source=source)


def prediction(prediction_id: str) -> SentPrediction:
    """One valid prediction of an external version."""
    return SentPrediction(
        id=prediction_id,
        timestamp=rfc3339(NOW),
        version="1",
        features={"a": 1.0},
        prediction="1",
        probabilities=0.7,
        latency_ms=2.0,
    )
