"""What Ray Serve and KubeRay are told; `make cluster-test` runs it with real replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from whisper_service.settings import Settings

RAY = Path(__file__).parents[2] / "deploy" / "ray"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((RAY / "serve.yaml").read_text()))


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    return dict(yaml.safe_load((RAY / "ray-service.yaml").read_text()))


@pytest.fixture(scope="module")
def deployment(config: dict[str, Any]) -> dict[str, Any]:
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    return dict(deployment)


def test_ray_serve_accepts_the_configuration(config: dict[str, Any]) -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="the extra `ray` is not installed")
    schema.ServeDeploySchema.model_validate(config)
    wrong = config | {"http_options": {"port": "eight thousand"}}
    with pytest.raises(ValueError):
        schema.ServeDeploySchema.model_validate(wrong)


def test_ray_can_send_the_application_to_its_machines() -> None:
    pytest.importorskip("ray.serve.schema", reason="the extra `ray` is not installed")
    from ray import cloudpickle

    from whisper_service.cluster.replica import WhisperReplica, application

    sent = cloudpickle.dumps(application._bound_deployment.func_or_class)
    assert issubclass(cloudpickle.loads(sent), WhisperReplica)


def test_kuberay_is_given_the_same_configuration(
    config: dict[str, Any], service: dict[str, Any]
) -> None:
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == config


def test_kubernetes_accepts_the_pods_of_the_cluster(service: dict[str, Any]) -> None:
    cluster = service["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        named = {"name": "x"} | group["template"].get("metadata", {})
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"], "metadata": named}
        kubernetes_validate.validate(pod, "1.34", strict=True)


def test_workers_outlive_the_requests_that_they_have(
    service: dict[str, Any], deployment: dict[str, Any]
) -> None:
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    grace = workers["template"]["spec"]["terminationGracePeriodSeconds"]
    longest = Settings.model_fields["request_timeout_seconds"].default
    assert deployment["graceful_shutdown_timeout_s"] >= longest
    assert grace > deployment["graceful_shutdown_timeout_s"]


def test_the_proxy_waits_longer_than_the_service(config: dict[str, Any]) -> None:
    longest = Settings.model_fields["request_timeout_seconds"].default
    assert config["http_options"]["request_timeout_s"] > longest


def test_a_replica_is_a_gpu_with_settings_that_exist(deployment: dict[str, Any]) -> None:
    assert deployment["ray_actor_options"]["num_gpus"] == 1
    known = {f"WHISPER_{name}".upper() for name in Settings.model_fields}
    assert set(deployment["ray_actor_options"]["runtime_env"]["env_vars"]) <= known


def test_each_replicas_own_metrics_are_scraped(
    service: dict[str, Any], deployment: dict[str, Any]
) -> None:
    port = deployment["ray_actor_options"]["runtime_env"]["env_vars"][
        "WHISPER_REPLICA_METRICS_PORT"
    ]
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert workers["template"]["metadata"]["annotations"]["prometheus.io/port"] == port
    (container,) = workers["template"]["spec"]["containers"]
    assert {"name": "metrics", "containerPort": int(port)} in container["ports"]


def test_there_are_workers_for_as_many_replicas_as_may_be(
    service: dict[str, Any], deployment: dict[str, Any]
) -> None:
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    scaling = deployment["autoscaling_config"]
    assert workers["minReplicas"] >= scaling["min_replicas"]
    assert workers["maxReplicas"] >= scaling["max_replicas"]
