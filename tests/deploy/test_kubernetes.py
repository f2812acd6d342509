"""The manifests are valid for Kubernetes, and hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from whisper_service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VERSIONS = ("1.30", "1.34")


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "kubernetes" / name).read_text()))


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"]["template"]["spec"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_accepts_the_manifest(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_the_schema_does_refuse_a_wrong_manifest() -> None:
    wrong = read("deployment.yaml")
    pod(wrong)["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_kind_that_an_operator_needs_is_there() -> None:
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in MANIFESTS}
    assert kinds == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }


def test_all_of_them_mean_the_same_pods() -> None:
    deployment = read("deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert read("service.yaml")["spec"]["selector"] == labels
    assert read("disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert read("network-policy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    target = read("autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_a_pod_is_given_the_time_to_drain() -> None:
    spec = pod(read("deployment.yaml"))
    (container,) = spec["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = float(environment["WHISPER_DRAIN_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] >= pause + drain + 20


def test_probes_ask_for_routes_that_exist_and_each_for_its_own() -> None:
    (container,) = pod(read("deployment.yaml"))["containers"]
    paths = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "readiness", "liveness")
    }
    assert paths == {
        "startup": "/health/ready",
        "readiness": "/health/ready",
        "liveness": "/health/live",  # a pod that drains or waits for its engine must not be killed
    }


def test_only_settings_that_exist_are_set() -> None:
    (container,) = pod(read("deployment.yaml"))["containers"]
    known = {f"WHISPER_{name}".upper() for name in Settings.model_fields}
    assert {each["name"] for each in container["env"]} <= known


def test_a_pod_can_do_no_more_than_it_must() -> None:
    spec = pod(read("deployment.yaml"))
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_autoscaler_goes_by_a_series_that_the_adapter_serves() -> None:
    (metric,) = read("autoscaler.yaml")["spec"]["metrics"]
    (rule,) = read("prometheus-adapter/values.yaml")["rules"]["custom"]
    assert rule["seriesQuery"].startswith(metric["pods"]["metric"]["name"] + "{")
