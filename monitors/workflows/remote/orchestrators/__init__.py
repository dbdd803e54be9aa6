"""How each service starts a pipeline, says how far it is, and ends it: one module each.

Input: a pipeline with its address, options and secret, an idempotency key, and the order that the pipeline gets.
Output: what the service calls its run, and later in which state that is; or `RequestFailed` with what went wrong.

Start with `base.py`; `signed_http.py` is the shortest. `aws_signature.py` signs what `sagemaker.py` sends.
"""

from monitors.workflows.remote.orchestrators.airflow import Airflow
from monitors.workflows.remote.orchestrators.argo import Argo
from monitors.workflows.remote.orchestrators.base import Orchestrator
from monitors.workflows.remote.orchestrators.dagster import Dagster
from monitors.workflows.remote.orchestrators.github import GitHub
from monitors.workflows.remote.orchestrators.kubeflow import Kubeflow
from monitors.workflows.remote.orchestrators.prefect import Prefect
from monitors.workflows.remote.orchestrators.sagemaker import SageMaker
from monitors.workflows.remote.orchestrators.signed_http import SignedHttp

ORCHESTRATORS: dict[str, Orchestrator] = {
    "http": SignedHttp(),
    "airflow": Airflow(),
    "prefect": Prefect(),
    "dagster": Dagster(),
    "kubeflow": Kubeflow(),
    "github": GitHub(),
    "argo": Argo(),
    "sagemaker": SageMaker(),
}
