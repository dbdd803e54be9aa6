"""A DAG as a user of Airflow would write it: its one task is tried again where its worker dies."""

from datetime import timedelta

import training
from airflow.sdk import dag, get_current_context, task


@task(retries=2, retry_delay=timedelta(seconds=1))
def train() -> None:
    order = get_current_context()["dag_run"].conf
    training.wait_while_held()
    onnx = training.train(training.fetch(order), order["job"])
    training.send(onnx, order)


@dag(schedule=None)
def retrain() -> None:
    train()


retrain()
