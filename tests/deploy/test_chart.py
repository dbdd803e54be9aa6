"""The Helm chart: Helm and Kubernetes take it, and it starts what this release has, locked down and without secrets."""

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.urls import resolve

from driftline.operations.observability.metrics import BacklogCollector
from inference.serving.grpc.server import SERVICE
from inference.serving.grpc.tensorflow import MODEL_SERVICE, PREDICTION_SERVICE
from tests.deploy.chart import (
    CHART,
    EXTERNAL,
    SMALL,
    WHOLE,
    containers,
    load_chart,
    of_kind,
    pods,
    render,
    words_of,
)
from tests.deploy.commands import KNOWN_SETTINGS, check_command, commands_in
from tests.deploy.containerfile import words_after
from tests.deploy.places import CHECKOUT

ROLES = {"prepare", "web", "worker", "scheduler", "sources"}
SECRET_SETTINGS = {
    "DRIFTLINE_DATABASE_URL",
    "DRIFTLINE_REPLICA_URL",
    "DRIFTLINE_BROKER_URL",
    "DRIFTLINE_SECRET_KEY",
    "DRIFTLINE_SECRET_KEY_FALLBACKS",
    "DRIFTLINE_HOST_TOKEN",
    "DRIFTLINE_EMAIL_URL",
}
KUBERNETES_VERSIONS = ("1.27", "1.37")
OTHER_MAKERS = {"ServiceMonitor", "ExternalSecret"}
"""Kinds that Kubernetes itself does not have."""
OTHER_VALUES: dict[tuple[str, ...], Any] = {
    ("settings",): {"DRIFTLINE_RETENTION_DAYS": "30"},
    ("home", "accessMode"): "ReadWriteOnce",
    ("image", "pullPolicy"): "Always",
    ("image", "digest"): "sha256:" + "1" * 64,
    ("externalSecret", "store", "kind"): "ClusterSecretStore",
    ("externalSecret", "refreshInterval"): "10m",
}


def default_values() -> dict[str, Any]:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def schema() -> dict[str, Any]:
    return json.loads((CHART / "values.schema.json").read_text())


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value that has no names below it, with the names that lead to it."""
    if isinstance(values, dict) and values:
        for name, inner in values.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, values


def merged(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    found = dict(defaults)
    for name, value in values.items():
        before = found.get(name)
        found[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return found


def changed(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the values with another one at `path`."""
    found = copy.deepcopy(values)
    place = found
    for name in path[:-1]:
        place = place[name]
    match place[path[-1]]:
        case _ if path in OTHER_VALUES:
            place[path[-1]] = OTHER_VALUES[path]
        case bool() as flag:
            place[path[-1]] = not flag
        case int() as number:
            place[path[-1]] = number + 1
        case list():
            place[path[-1]] = []
        case dict():
            place[path[-1]] = {"other": "value"}
        case str() as text if re.fullmatch(r"[0-9]+(m|Mi|Gi)?", text):
            place[path[-1]] = f"9{text}"
        case _:
            place[path[-1]] = "other"
    return found


# -- what reads it -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("values", [SMALL, WHOLE, EXTERNAL], ids=["small", "whole", "external"])
def test_helm_has_no_complaint(values: dict[str, Any]) -> None:
    load_chart()
    from helm_python.chart import lint  # installed where the line before did not skip

    report = lint(CHART, values, strict=True)

    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("is_upgrade", [False, True], ids=["install", "upgrade"])
@pytest.mark.parametrize("values", [SMALL, WHOLE, EXTERNAL], ids=["small", "whole", "external"])
def test_kubernetes_knows_every_field(values: dict[str, Any], is_upgrade: bool, version: str) -> None:
    manifests = [one for one in render(values, is_upgrade=is_upgrade) if one["kind"] not in OTHER_MAKERS]

    from kubernetes_validate import validate  # installed where the line before did not skip

    assert len(manifests) > 10
    for one in manifests:
        validate(one, version, strict=True)


def test_kubernetes_would_refuse_a_field_that_does_not_exist() -> None:
    [web] = [
        one
        for one in render(SMALL)
        if one["metadata"]["name"] == "driftline-web" and one["kind"] == "Service"
    ]
    web["spec"]["prots"] = web["spec"].pop("ports")
    from kubernetes_validate import ValidationError, validate  # installed where `render` did not skip

    with pytest.raises(ValidationError):
        validate(web, "1.37", strict=True)


def test_its_release_is_that_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]

    assert chart["appVersion"] == project["version"]


# -- values ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_each_value_changes_what_is_rendered(subtests: pytest.Subtests) -> None:
    for path, _ in leaves(default_values()):
        with subtests.test(".".join(path)):
            values = merged(default_values(), EXTERNAL if path[0] == "externalSecret" else WHOLE)
            if path == ("worker", "replicas"):
                values["worker"]["autoscaling"]["enabled"] = False

            others = changed(values, path)
            if path == ("externalSecret", "enabled"):
                others["existingSecret"] = "driftline-secrets"

            is_upgrade = path == ("prepare", "backup")
            assert render(values, is_upgrade=is_upgrade) != render(others, is_upgrade=is_upgrade)


def test_the_schema_has_the_values_and_no_others() -> None:
    def names(part: dict[str, Any], values: dict[str, Any]) -> None:
        assert part["properties"].keys() - {"global"} == values.keys()
        assert part["additionalProperties"] is False
        for name, inner in part["properties"].items():
            if "properties" in inner:
                names(inner, values[name])

    names(schema(), default_values())


@pytest.mark.parametrize(
    "values",
    [
        {},
        SMALL | {"host": "https://driftline.example.com"},
        SMALL | {"existingSecret": ""},
        EXTERNAL | {"existingSecret": "driftline-secrets"},
        merged(EXTERNAL, {"externalSecret": {"store": {"name": ""}}}),
        merged(EXTERNAL, {"externalSecret": {"keys": {"DRIFTLINE_SECRET_KEY": {"key": ""}}}}),
        merged(EXTERNAL, {"externalSecret": {"keys": {"DRIFTLINE_HOST_TOKEN": {"key": "token"}}}}),
        merged(EXTERNAL, {"externalSecret": {"refreshInterval": "often"}}),
        SMALL | {"web": {"replicas": 2}},
        SMALL | {"settings": {"DRIFTLINE_RETENTION_DAYS": 400}},
        SMALL | {"inference": {"replicas": 1}},
        SMALL | {"serviceMonitor": {"enabled": True}},
        *(SMALL | {"settings": {name: "x"}} for name in sorted(SECRET_SETTINGS)),
    ],
    ids=json.dumps,
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any]) -> None:
    chart = load_chart()
    from helm_python import HelmValuesError

    with pytest.raises(HelmValuesError):
        chart.render(values)


# -- roles -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_upgrade", [False, True], ids=["install", "upgrade"])
def test_each_role_starts_with_a_command_that_exists(is_upgrade: bool) -> None:
    manifests = render(WHOLE, is_upgrade=is_upgrade)

    for container in containers(manifests):
        found = commands_in(words_of(container))
        assert len(found) == 1
        check_command(found[0])


def test_the_worker_is_asked_whether_it_works() -> None:
    [worker] = pods(render(SMALL))["worker"]["containers"]

    [command] = commands_in(worker["livenessProbe"]["exec"]["command"])
    assert command[:5] == ["-m", "celery", "-A", "driftline.celery", "inspect"]


def test_every_role_is_there() -> None:
    assert pods(render(SMALL)).keys() == ROLES
    assert pods(render(WHOLE)).keys() == {*ROLES, "inference"}


def test_one_pod_alone_serves_in_the_home_of_all() -> None:
    web = of_kind(render(WHOLE), "Deployment")["driftline-web"]["spec"]

    assert (web["replicas"], web["strategy"]["type"]) == (1, "Recreate")


def test_the_database_is_migrated_before_the_roles_start() -> None:
    def arguments(values: dict[str, Any], *, is_upgrade: bool) -> list[str]:
        return pods(render(values, is_upgrade=is_upgrade))["prepare"]["containers"][0]["args"]

    job = of_kind(render(SMALL), "Job")["driftline-prepare"]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert arguments(SMALL, is_upgrade=False) == ["manage.py", "migrate", "--no-input"]
    assert arguments(SMALL, is_upgrade=True) == ["manage.py", "upgrade"]
    assert arguments(SMALL | {"prepare": {"backup": False}}, is_upgrade=True)[-1] == "--no-backup"


def test_nothing_that_is_made_with_the_release_is_needed_before_it() -> None:
    """What a hook before the installation needs must exist: the claim does not yet."""
    volumes = pods(render(SMALL))["prepare"]["volumes"]

    assert [one for one in volumes if "persistentVolumeClaim" in one] == []


def test_roles_of_one_home_run_on_one_node_unless_nodes_can_share_it() -> None:
    alone, shared = (
        pods(render(merged(SMALL, {"home": {"accessMode": mode}})))
        for mode in ("ReadWriteOnce", "ReadWriteMany")
    )

    assert all("podAffinity" in pod["affinity"] for pod in alone.values())
    assert all("affinity" not in pod for pod in shared.values())


def test_the_home_outlives_the_release() -> None:
    [claim] = of_kind(render(SMALL), "PersistentVolumeClaim").values()

    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert of_kind(render(merged(SMALL, {"home": {"existingClaim": "mine"}})), "PersistentVolumeClaim") == {}


# -- settings, ports and paths -----------------------------------------------------------------------------------------
def test_settings_are_known() -> None:
    names = {one["name"] for container in containers(render(WHOLE)) for one in container["env"]}
    refused = set(schema()["properties"]["settings"]["propertyNames"]["not"]["enum"])

    assert {name for name in names if name.startswith("DRIFTLINE_")} <= KNOWN_SETTINGS
    assert refused <= KNOWN_SETTINGS
    assert refused >= SECRET_SETTINGS


def test_ports_are_those_of_the_image() -> None:
    manifests = render(WHOLE)
    exposed = [int(port) for words in words_after("EXPOSE") for port in words.split()]

    for container in containers(manifests):
        if "ports" in container:
            assert [port["containerPort"] for port in container["ports"]] == exposed
    for service in of_kind(manifests, "Service").values():
        assert [port["port"] for port in service["spec"]["ports"]] == exposed
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http", "grpc"]


def test_the_home_is_in_the_volume_of_the_image() -> None:
    [volume] = words_after("VOLUME")

    for container in containers(render(WHOLE)):
        [home] = [one["value"] for one in container["env"] if one["name"] == "DRIFTLINE_HOME"]
        assert home.startswith(f"{volume}/")
        assert volume in [one["mountPath"] for one in container["volumeMounts"]]


def test_paths_that_are_asked_exist() -> None:
    manifests = render(WHOLE)
    probed = {
        probe["httpGet"]["path"]
        for container in containers(manifests)
        for name, probe in container.items()
        if name.endswith("Probe") and "httpGet" in probe
    }
    scraped = [one["path"] for one in of_kind(manifests, "ServiceMonitor")["driftline"]["spec"]["endpoints"]]

    # The installation test asks what is of the Open Inference Protocol, which is none of Django's.
    assert probed == {"/healthz", "/v2/health/live", "/v2/health/ready"}
    for path in ["/healthz", *scraped]:
        resolve(path)


def test_workers_are_scaled_by_a_metric_that_exists() -> None:
    [scaler] = of_kind(render(WHOLE), "HorizontalPodAutoscaler").values()
    worker = of_kind(render(WHOLE), "Deployment")["driftline-worker"]

    [metric] = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] in {one.name for one in BacklogCollector(None).describe()}
    assert scaler["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert "replicas" not in worker["spec"]


# -- security ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_upgrade", [False, True], ids=["install", "upgrade"])
def test_every_pod_is_locked_down(is_upgrade: bool) -> None:
    manifests = render(WHOLE, is_upgrade=is_upgrade)
    [user] = words_after("USER")

    for pod in pods(manifests).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [one for one in pod["volumes"] if "hostPath" in one] == []
    for container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in [one["mountPath"] for one in container["volumeMounts"]]
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("values", [WHOLE, EXTERNAL], ids=["whole", "external"])
def test_secrets_are_never_rendered(values: dict[str, Any]) -> None:
    manifests = render(values)
    env = [one for container in containers(manifests) for one in container["env"]]

    assert of_kind(manifests, "Secret") == of_kind(manifests, "ConfigMap") == {}
    secret = [one for one in env if one["name"] in SECRET_SETTINGS]
    assert secret
    assert [one for one in secret if "value" in one or "secretKeyRef" not in one["valueFrom"]] == []


def test_a_secret_of_a_store_is_there_before_what_needs_it_and_stays_between_upgrades() -> None:
    manifests = render(EXTERNAL)
    [made] = of_kind(manifests, "ExternalSecret").values()
    job = of_kind(manifests, "Job")["driftline-prepare"]
    named = {
        (one["valueFrom"]["secretKeyRef"]["name"], one["name"])
        for container in containers(manifests)
        for one in container["env"]
        if one["name"] in SECRET_SETTINGS - {"DRIFTLINE_EMAIL_URL"}
    }

    assert made["apiVersion"] == "external-secrets.io/v1"
    assert made["metadata"]["annotations"]["helm.sh/hook"] == job["metadata"]["annotations"]["helm.sh/hook"]
    assert int(made["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert (made["spec"]["target"]["creationPolicy"], made["spec"]["target"]["deletionPolicy"]) == (
        "Orphan",
        "Retain",
    )
    target = made["spec"]["target"]["name"]
    assert named == {(target, one["secretKey"]) for one in made["spec"]["data"]}
    assert of_kind(render(WHOLE), "ExternalSecret") == {}


def test_a_value_of_a_store_is_named_by_its_entry_and_by_a_property_where_it_has_some() -> None:
    [made] = of_kind(render(EXTERNAL), "ExternalSecret").values()

    assert made["spec"]["secretStoreRef"] == {"kind": "SecretStore", "name": "vault"}
    assert {one["secretKey"]: one["remoteRef"] for one in made["spec"]["data"]} == {
        "DRIFTLINE_DATABASE_URL": {"key": "driftline", "property": "database"},
        "DRIFTLINE_BROKER_URL": {"key": "driftline", "property": "broker"},
        "DRIFTLINE_SECRET_KEY": {"key": "driftline-secret-key"},
    }


def test_a_serving_host_has_no_key_of_the_main_server() -> None:
    [container] = pods(render(WHOLE))["inference"]["containers"]

    assert "DRIFTLINE_SECRET_KEY" not in [one["name"] for one in container["env"]]


def test_nobody_reaches_what_does_not_serve() -> None:
    policies = of_kind(render(WHOLE), "NetworkPolicy")
    everybody, serving = policies["driftline"]["spec"], policies["driftline-serving"]["spec"]

    assert "matchExpressions" not in everybody["podSelector"]
    assert everybody["ingress"] == []
    assert serving["podSelector"]["matchExpressions"][0]["values"] == ["web", "inference"]
    assert len(serving["ingress"][0]["from"]) == 2


def test_every_host_of_the_ingress_has_the_certificate() -> None:
    ingress = of_kind(render(WHOLE), "Ingress")["driftline"]
    services = of_kind(render(WHOLE), "Service")

    rules = {
        rule["host"]: rule["http"]["paths"][0]["backend"]["service"]["name"]
        for rule in ingress["spec"]["rules"]
    }
    assert rules == {
        "driftline.example.com": "driftline-web",
        "inference.example.com": "driftline-inference",
    }
    assert set(rules.values()) == services.keys()
    assert set(ingress["spec"]["tls"][0]["hosts"]) == rules.keys()


def test_grpc_has_an_ingress_of_its_own_under_the_same_names() -> None:
    ingresses = of_kind(render(WHOLE), "Ingress")
    http, grpc = ingresses["driftline"], ingresses["driftline-grpc"]

    def places(ingress: dict[str, Any]) -> set[tuple[str, str, str, str]]:
        return {
            (
                rule["host"],
                path["path"],
                path["backend"]["service"]["name"],
                path["backend"]["service"]["port"]["name"],
            )
            for rule in ingress["spec"]["rules"]
            for path in rule["http"]["paths"]
        }

    asked = [SERVICE, PREDICTION_SERVICE, MODEL_SERVICE, "grpc.health.v1.Health"]
    assert places(grpc) == {
        (host, f"/{service}", name, "grpc") for host, _, name, _ in places(http) for service in asked
    }
    assert grpc["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
    assert "nginx.ingress.kubernetes.io/backend-protocol" not in http["metadata"]["annotations"]
    assert grpc["spec"]["tls"] == http["spec"]["tls"]
    assert of_kind(render(SMALL), "Ingress").keys() == {"driftline"}
