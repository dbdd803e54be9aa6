"""A real MLflow keeps the versions of whole runs: its webhook starts one, and it hears how each ends."""

from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.operations.long_work import run_next
from inference.registry.deployments import rollback
from inference.registry.models import Deployment, DeploymentChange, Version
from monitors.workflows import services as workflows
from monitors.workflows.engine import advance
from monitors.workflows.mlflow import services
from monitors.workflows.mlflow.following import ask_now, poll
from monitors.workflows.mlflow.models import MlflowConnection, MlflowDelivery, MlflowReport, MlflowVersion
from monitors.workflows.mlflow.registry_imports import services as registry_imports
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion
from monitors.workflows.mlflow.schemas import webhook_url
from tests.monitors.workflows.mlflow.conftest import make_due, train
from tests.orchestrators.mlflow_server import PASSWORD, USER, Mlflow
from tests.orchestrators.server import PATIENCE_SECONDS
from tests.waiting import wait_until
from tests.worlds.turning_flights import World

pytestmark = [pytest.mark.orchestrators, pytest.mark.e2e]


def connect(world: World, mlflow: Mlflow, name: str, live_server: Any, settings: Any) -> MlflowConnection:
    """Follow a registered model; webhooks alone say when to ask."""
    settings.PUBLIC_URL, settings.OUTBOUND_ALLOW = live_server.url, ["127.0.0.1/32"]
    connection, secret = services.connect(
        model=world.model, actor="ada", url=mlflow.url, registered_model=name, polls=False,
        secret=f"{USER}:{PASSWORD}",
    )  # fmt: skip
    poll(connection.pk)
    mlflow.add_webhook(webhook_url(connection), secret)
    return connection


def nobody_is_refused() -> None: ...


def work() -> None:
    while run_next():
        pass


def is_due() -> bool:
    return MlflowConnection.objects.due().exists()


def test_holds_a_challenger_that_is_promoted_and_rolled_back(
    table_world: World, mlflow: Mlflow, live_server: Any, settings: Any
) -> None:
    model = table_world.model
    number = mlflow.log(train(turned=True), "promoted")
    connection = connect(table_world, mlflow, "promoted", live_server, settings)
    assert not is_due()

    mlflow.set_alias("promoted", "challenger", number)
    wait_until(is_due, seconds=PATIENCE_SECONDS, what="MLflow's webhook")
    poll(connection.pk)
    work()

    taken = MlflowVersion.objects.get()
    assert (taken.number, taken.state) == (number, "compared"), taken.error
    assert taken.run is not None
    assert taken.version is not None
    assert MlflowDelivery.objects.count() == 1
    advance(run_id=taken.run.pk)
    for day in (11, 12):
        table_world.send_day(day)
    advance(run_id=taken.run.pk)
    work()
    assert Deployment.objects.get(model=model).champion == taken.version
    assert mlflow.aliases("promoted") == {"challenger": number, "champion": number}
    tags = mlflow.tags("promoted", number)
    assert (tags["driftline.decision"], tags["driftline.run"]) == ("promoted", str(taken.run.pk))
    assert tags["driftline.metric"] == "log_loss"
    assert tags["driftline.interval"].startswith("[-")

    rollback(model=model, expected_generation=None, actor="ada")
    work()

    assert mlflow.aliases("promoted") == {"challenger": number}
    assert mlflow.tags("promoted", number)["driftline.decision"] == "rolled_back"


def test_is_imported_whole_while_it_is_killed(
    mlflow: Mlflow, transactional_db: None, live_server: Any, settings: Any
) -> None:
    settings.PUBLIC_URL, settings.OUTBOUND_ALLOW = live_server.url, ["127.0.0.1/32"]
    older, better = train(turned=False), train(turned=True)
    for name in ("import-flights", "import it's late"):
        assert mlflow.log(older, name) == "1"
        assert mlflow.log(better, name) == "2"
    mlflow.set_alias("import-flights", "champion", "1")
    mlflow.set_alias("import-flights", "challenger", "2")
    mlflow.call("POST", "registered-models/create", {"name": "import-empty"})
    project = Project.objects.create(slug="harbour", name="Harbour")
    whole = registry_imports.list_registry(
        project=project, actor="ada", url=mlflow.url, secret=f"{USER}:{PASSWORD}", search="import"
    )
    work()
    options = registry_imports.ImportOptions(follows=True)

    mlflow.kill()  # before it is asked for the versions
    assert (
        registry_imports.start_import(
            registry_import=whole, chosen=None, options=options, actor="ada", check_new=nobody_is_refused
        )
        == 3
    )
    work()
    assert set(whole.registered_models.values_list("failures", flat=True)) == {1}
    mlflow.start()
    make_due(ImportedModel.objects.all())
    work()

    rows = {row.registered_model: row for row in whole.registered_models.all()}
    assert {name: (row.name, row.state) for name, row in rows.items()} == {
        "import-empty": ("import-empty", "failed"),
        "import-flights": ("import-flights", "done"),
        "import it's late": ("import-it-s-late", "done"),
    }, [row.error for row in rows.values()]
    assert "no version that is ready" in rows["import-empty"].error
    came = ImportedVersion.objects.order_by("imported__registered_model", "position")
    assert list(came.values_list("imported__registered_model", "number", "aliases", "outcome")) == [
        ("import it's late", "2", "", "imported"),
        ("import-flights", "1", "champion", "imported"),
        ("import-flights", "2", "challenger", "imported"),
    ]
    assert Deployment.objects.get(model__name="import-flights").champion.version == "1"
    assert MlflowConnection.objects.count() == 2

    again = registry_imports.list_registry(
        project=project, actor="ada", url=mlflow.url, secret=f"{USER}:{PASSWORD}", search="import"
    )
    work()
    registry_imports.start_import(
        registry_import=again, chosen=None, options=options, actor="ada", check_new=nobody_is_refused
    )
    work()
    outcomes = ImportedVersion.objects.filter(imported__registry_import=again).values_list(
        "outcome", flat=True
    )
    assert list(outcomes) == ["known"] * 3
    assert Version.objects.count() == 3


def test_is_waited_for_while_it_is_killed(
    table_world: World, mlflow: Mlflow, live_server: Any, settings: Any
) -> None:
    number = mlflow.log(train(turned=True), "killed")
    connection = connect(table_world, mlflow, "killed", live_server, settings)
    mlflow.set_alias("killed", "challenger", number)
    wait_until(is_due, seconds=PATIENCE_SECONDS, what="MLflow's webhook")

    mlflow.kill()  # before it is asked
    poll(connection.pk)
    connection.refresh_from_db()
    assert "connection_error" in connection.poll_error
    mlflow.start()
    ask_now(connection)
    poll(connection.pk)
    mlflow.kill()  # before the download
    work()
    assert MlflowVersion.objects.get().failures == 1
    mlflow.start()
    make_due(MlflowVersion.objects.all())
    work()
    taken = MlflowVersion.objects.get()
    assert taken.state == "compared", taken.error
    assert taken.run is not None

    mlflow.kill()  # before the report
    workflows.reject(run=taken.run, actor="ada")
    work()
    assert MlflowReport.objects.get().state == "waiting"
    mlflow.start()
    make_due(MlflowReport.objects.all())
    work()

    assert MlflowReport.objects.get().state == "sent"
    assert mlflow.tags("killed", number)["driftline.decision"] == "rejected"
    assert mlflow.aliases("killed") == {"challenger": number}
    assert table_world.model.versions.count() == 2
    assert not DeploymentChange.objects.filter(kind="promote").exists()
