"""The manifests, read as kustomize puts them together: sound by Kubernetes' own schemas, and true to the router."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from router.settings import load_settings
from router.settings.layers import CREDENTIAL_PREFIX, KEYS_CREDENTIAL
from router.settings.loading import Settings
from router.settings.schema import known_keys
from router.web.probes import add_probes
from tests.support.shutdown import LONGEST_SECONDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "kubernetes"
BASE, EXAMPLE = FOLDER / "base", FOLDER / "overlays" / "example"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
KUBERNETES = ("1.29", "1.33")
"""The oldest version that is meant, and a new one whose schemas the validator has."""

Document = dict[str, Any]


def documents(folder: Path) -> list[Document]:
    """What a kustomization lists, in the order of its files."""
    files = kustomization(folder)["resources"]
    texts = [(folder / file).read_text("utf-8") for file in files if file.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def kustomization(folder: Path) -> Document:
    loaded: Document = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    return loaded


FOLDERS = sorted(file.parent for file in FOLDER.rglob("kustomization.yaml"))
ALL = [document for folder in FOLDERS for document in documents(folder)]
KEDA_AND_PROMETHEUS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
DEPLOYMENTS = {document["metadata"]["name"]: document for document in ALL if document["kind"] == "Deployment"}

roles = pytest.mark.parametrize("role", ["worker", "api"])


def pod(role: str) -> Document:
    found: Document = DEPLOYMENTS[f"webhook-router-{role}"]["spec"]["template"]["spec"]
    return found


def container(role: str) -> Document:
    (only,) = pod(role)["containers"]
    found: Document = only
    return found


def name_of(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


# --- the files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(FOLDER)))
def test_a_kustomization_lists_the_files_beside_it(folder: Path) -> None:
    listed = kustomization(folder)
    files = {file.name for file in folder.iterdir()} - {"kustomization.yaml"}
    generated = {file for each in listed.get("configMapGenerator", []) for file in each["files"]}
    named = {file for file in listed["resources"] if not file.startswith("..")}
    assert named | generated == files
    elsewhere = [*(file for file in listed["resources"] if file.startswith("..")), *listed.get("components", [])]
    assert [path for path in elsewhere if not (folder / path / "kustomization.yaml").exists()] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("document", [d for d in ALL if d["apiVersion"] not in KEDA_AND_PROMETHEUS], ids=name_of)
def test_a_manifest_is_what_kubernetes_expects(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_what_kubernetes_has_no_schema_of_is_what_keda_and_the_operator_document() -> None:
    """Their schemas are no part of the validator: the fields that we use are written down here."""
    fields = {
        "ScaledObject": {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod",
                         "advanced", "triggers"},
        "TriggerAuthentication": {"secretTargetRef"},
        "PodMonitor": {"selector", "podMetricsEndpoints"},
    }  # fmt: skip
    foreign = {d["kind"]: set(d["spec"]) for d in ALL if d["apiVersion"] in KEDA_AND_PROMETHEUS}
    assert foreign == fields


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="a tool of Kubernetes', for checking only")
def test_kubectl_puts_the_example_together_with_its_names_and_selectors() -> None:
    made = subprocess.run(["kubectl", "kustomize", EXAMPLE], capture_output=True, text=True, check=True).stdout
    built = {name_of(document): document for document in yaml.safe_load_all(made)}
    assert {document["metadata"].get("namespace") for document in built.values()} == {None, "webhook-router"}
    worker = built["Deployment/webhook-router-worker"]["spec"]
    assert "replicas" not in worker  # KEDA's
    assert worker["template"]["spec"]["containers"][0]["image"] == f"registry.example.com/webhook-router:{VERSION}"
    (config,) = (volume for volume in worker["template"]["spec"]["volumes"] if volume["name"] == "config")
    assert f"ConfigMap/{config['configMap']['name']}" in built
    assert worker["selector"]["matchLabels"].items() <= worker["template"]["metadata"]["labels"].items()
    peers = [rule["to"][0] for rule in built["NetworkPolicy/webhook-router"]["spec"]["egress"]]
    assert [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in peers if "podSelector" in peer
    ] == [
        "rabbitmq",
        "mongodb",
    ]


# --- true to the router ----------------------------------------------------------------------------


def settings() -> Settings:
    return load_settings(config=BASE / "router.toml", environ={})


def test_the_configuration_is_sound() -> None:
    assert settings().api.probes_port is not None
    (generated,) = kustomization(BASE)["configMapGenerator"]
    assert generated == {"name": "webhook-router-config", "files": ["router.toml"]}


@roles
def test_every_reference_of_a_pod_leads_somewhere(role: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(role)["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(role)["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["config"]["configMap"]["name"] == kustomization(BASE)["configMapGenerator"][0]["name"]
    (secret,) = (document for document in ALL if document["kind"] == "Secret")
    assert volumes["secrets"]["secret"]["secretName"] == secret["metadata"]["name"]
    environment = {each["name"]: each["value"] for each in container(role)["env"]}
    assert environment == {"CREDENTIALS_DIRECTORY": mounts["secrets"]}
    assert container(role)["args"] == ["serve", "--role", role, "--config", f"{mounts['config']}/router.toml"]
    (account,) = (document for document in ALL if document["kind"] == "ServiceAccount")
    assert pod(role)["serviceAccountName"] == account["metadata"]["name"]


@roles
def test_ports_and_probes_are_the_routers(role: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(role)["ports"]}
    api = settings().api
    assert ports == {"probes": api.probes_port} | ({"http": api.port} if role == "api" else {})
    probes = {name: container(role)[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness", "startup")}
    assert {probe["port"] for probe in probes.values()} == {"probes"}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "liveness": "/livez",
        "readiness": "/readyz",
        "startup": "/livez",
    }
    for path in {probe["path"] for probe in probes.values()}:
        assert f'"{path}"' in Path(add_probes.__code__.co_filename).read_text("utf-8")


@roles
def test_the_image_has_the_version_of_the_project(role: str) -> None:
    assert container(role)["image"] == f"webhook-router:{VERSION}"
    for folder in (BASE, EXAMPLE):
        (image,) = kustomization(folder)["images"]
        assert (image["name"], image["newTag"]) == ("webhook-router", VERSION)


@roles
def test_there_is_time_for_a_clean_stop(role: str) -> None:
    hook = container(role).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert hook[0] == "sleep"
    assert int(hook[1]) + LONGEST_SECONDS < pod(role)["terminationGracePeriodSeconds"]
    # Requests go on to come to an API whose pod is on its way out; to a worker none ever come.
    assert (int(hook[1]) > 0) == (role == "api")


@roles
def test_a_pod_is_confined(role: str) -> None:
    assert pod(role)["automountServiceAccountToken"] is False
    assert pod(role)["enableServiceLinks"] is False
    assert pod(role)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text("utf-8")
    assert container(role)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container(role)["resources"]["limits"]
    (namespace,) = (document for document in ALL if document["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@roles
def test_pods_are_spread_and_leave_one_at_a_time(role: str) -> None:
    labels = {"app.kubernetes.io/name": "webhook-router", "app.kubernetes.io/component": role}
    spreads = pod(role)["topologySpreadConstraints"]
    assert [spread["topologyKey"] for spread in spreads] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert {str(spread["labelSelector"]["matchLabels"]) for spread in spreads} == {str(labels)}
    (budget,) = (d for d in ALL if name_of(d) == f"PodDisruptionBudget/webhook-router-{role}")
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    assert DEPLOYMENTS[f"webhook-router-{role}"]["spec"]["replicas"] > 1


# --- around it -------------------------------------------------------------------------------------


def test_secrets_are_settings_and_placeholders() -> None:
    (secret,) = (document for document in ALL if document["kind"] == "Secret")
    assert set(secret) == {"apiVersion", "kind", "metadata", "stringData"}
    for name, value in secret["stringData"].items():
        assert name == KEYS_CREDENTIAL or name.removeprefix(CREDENTIAL_PREFIX) in set(known_keys(Settings))
        assert "REPLACE-ME" in value


def test_the_service_leads_to_the_api_alone() -> None:
    (service,) = (document for document in ALL if document["kind"] == "Service")
    template = DEPLOYMENTS["webhook-router-api"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == template["app.kubernetes.io/component"]
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def rules(direction: str) -> Iterator[Document]:
    for policy in (document for document in ALL if document["kind"] == "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "webhook-router"
        yield from policy["spec"].get(direction, [])


def test_customers_are_reached_at_public_addresses_over_https_alone() -> None:
    (customers,) = (rule for rule in rules("egress") if any("ipBlock" in peer for peer in rule["to"]))
    assert [port["port"] for port in customers["ports"]] == [443]
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in customers["to"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(blocks["0.0.0.0/0"])
    assert {"fc00::/7", "fe80::/10"} <= set(blocks["::/0"])


def test_nobody_comes_in_but_the_ingress_and_the_monitoring() -> None:
    allowed = {
        rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: rule["ports"][0]["port"]
        for rule in rules("ingress")
    }
    assert allowed == {"monitoring": "probes", "ingress-nginx": "http"}


def test_the_workers_follow_the_queues_that_they_consume() -> None:
    scaled, authentication = documents(FOLDER / "components" / "keda")
    assert scaled["spec"]["scaleTargetRef"]["name"] in DEPLOYMENTS
    assert {trigger["type"] for trigger in scaled["spec"]["triggers"]} == {"rabbitmq"}
    triggers = [trigger["metadata"] for trigger in scaled["spec"]["triggers"]]
    assert [trigger["queueName"] for trigger in triggers] == [source.queue for source in settings().sources]
    assert all(trigger["mode"] == "QueueLength" and int(trigger["value"]) > 0 for trigger in triggers)
    assert {t["authenticationRef"]["name"] for t in scaled["spec"]["triggers"]} == {authentication["metadata"]["name"]}
    (target,) = authentication["spec"]["secretTargetRef"]
    (secret,) = (document for document in ALL if document["kind"] == "Secret")
    assert (target["parameter"], target["name"]) == ("host", secret["metadata"]["name"])
    assert target["key"] in secret["stringData"]
    assert scaled["spec"]["minReplicaCount"] > 1


def test_prometheus_finds_the_pods_under_the_name_that_alerts_ask_for() -> None:
    (monitor,) = documents(FOLDER / "components" / "monitoring")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("probes", "/metrics")
    assert {"targetLabel": "job", "replacement": "webhook-router"} in endpoint["relabelings"]
