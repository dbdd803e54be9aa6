"""The Helm chart as Helm renders it, with values that a test names."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from tests.deploy.places import DEPLOY

CHART = DEPLOY / "chart"

SMALL: dict[str, Any] = {
    "host": "driftline.example.com",
    "existingSecret": "driftline-secrets",
    "image": {"repository": "registry.example.com/driftline"},
}
"""What nobody can leave out."""

WHOLE: dict[str, Any] = SMALL | {
    "image": {
        "repository": "registry.example.com/driftline",
        "digest": "sha256:" + "0" * 64,
        "pullSecrets": ["registry"],
    },
    "settings": {"DRIFTLINE_ENCRYPT_LOG": "1"},
    "extraEnv": [
        {
            "name": "DRIFTLINE_EMAIL_URL",
            "valueFrom": {"secretKeyRef": {"name": "mail", "key": "url"}},
        }
    ],
    "filesSecret": "driftline-files",
    "trustedProxies": ["10.244.0.0/16"],
    "serviceAccountName": "driftline",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "home": {"storageClassName": "shared", "accessMode": "ReadWriteMany"},
    "worker": {"autoscaling": {"enabled": True, "metricLabels": {"project": "credit"}}},
    "inference": {
        "replicas": 2,
        "host": "inference.example.com",
        "tokensSecret": "host-tokens",
        "storageClassName": "fast",
    },
    "ingress": {
        "className": "nginx",
        "annotations": {"example.com/body-size": "300m"},
        "grpc": {"enabled": True},
    },
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "egress": [{"ports": [{"protocol": "TCP", "port": 5432}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "tokenSecret": "scrape-token"},
}
"""Every part of the chart at once, with a Secret that exists."""

EXTERNAL: dict[str, Any] = WHOLE | {
    "existingSecret": "",
    "externalSecret": {
        "enabled": True,
        "store": {"kind": "SecretStore", "name": "vault"},
        "keys": {
            "DRIFTLINE_DATABASE_URL": {"key": "driftline", "property": "database"},
            "DRIFTLINE_BROKER_URL": {"key": "driftline", "property": "broker"},
            "DRIFTLINE_SECRET_KEY": {"key": "driftline-secret-key"},
        },
    },
}
"""The same with a Secret that an operator makes."""


@cache
def load_chart() -> Any:
    """Load the chart into Helm; skips the test where no package with Helm is installed."""
    return pytest.importorskip(
        "helm_python", reason="Helm is not installed: `.ci/setup dev` does where there is a package"
    ).Chart.load(CHART)


def render(values: dict[str, Any], *, is_upgrade: bool = False) -> list[dict[str, Any]]:
    """Return the manifests of a release named `driftline`."""
    files = load_chart().render(
        values, name="driftline", namespace="models", is_install=not is_upgrade, is_upgrade=is_upgrade
    )
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.load_all(text, yaml.CSafeLoader) if found is not None]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Return the manifests of a kind by their names."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pods' specifications by role."""
    owners = [one for one in manifests if one["kind"] in ("Deployment", "StatefulSet", "Job")]
    return {
        one["metadata"]["name"].removeprefix("driftline-"): one["spec"]["template"]["spec"] for one in owners
    }


def containers(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every container, those that run first too."""
    for pod in pods(manifests).values():
        yield from [*pod.get("initContainers", ()), *pod["containers"]]


def words_of(container: dict[str, Any]) -> list[str]:
    """Return the command line, for which the image's entry point is python."""
    return [*container.get("command", ()), *container.get("args", ())]
