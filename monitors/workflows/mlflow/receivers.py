"""Connects MLflow to deployments and runs, which are reported to it, and to work of it that failed."""

from typing import Any

from django.dispatch import receiver

from driftline.base.signals import work_failed
from driftline.base.work.leased_work import LeasedWork
from inference.registry.models import Deployment, DeploymentChange
from inference.registry.signals import deployment_changed
from monitors.workflows.mlflow.failures import record_failure
from monitors.workflows.mlflow.models import MlflowReport, MlflowVersion
from monitors.workflows.mlflow.reporting import report_champions, report_later
from monitors.workflows.models import Run
from monitors.workflows.signals import run_ended


@receiver(deployment_changed)
def report_to_mlflow(*, deployment: Deployment, change: DeploymentChange, **_: Any) -> None:
    report_champions(change.before["champion"], change.after["champion"], deployment)


@receiver(run_ended)
def report_on_challenger(*, run: Run, **_: Any) -> None:
    report_later(run.challenger)


@receiver(work_failed)
def record_failure_with_mlflow(*, row: LeasedWork, **_: Any) -> None:
    if isinstance(row, MlflowReport | MlflowVersion):
        record_failure(row)
