"""compose.yaml is valid, and says of each service what it must."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from whisper_service.settings import Settings

ROOT = Path(__file__).parents[2]
SERVICES = ("whisper", "whisper-cpu")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def default_of(value: str) -> str:
    """The value where no variable is set: "${NAME:-60s}" is "60s"."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The compose specification's own, as the package check-jsonschema carries it."""
    text = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    return dict(json.loads(text.read_text()))


def test_the_compose_specification_accepts_the_file(
    compose: dict[str, Any], schema: dict[str, Any]
) -> None:
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []


def test_the_schema_does_refuse_a_wrong_file(
    compose: dict[str, Any], schema: dict[str, Any]
) -> None:
    wrong = {**compose, "services": {"whisper": {"image": "x", "restarts": "always"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_stopped_later_than_the_service_drains(
    compose: dict[str, Any], name: str
) -> None:
    grace = default_of(compose["services"][name]["stop_grace_period"])
    drain = Settings.model_fields["drain_seconds"].default
    assert float(grace.removesuffix("s")) >= drain + 20


@pytest.mark.parametrize("name", SERVICES)
def test_the_port_is_published_on_loopback_and_listened_on_inside(
    compose: dict[str, Any], name: str
) -> None:
    service = compose["services"][name]
    assert [default_of(port) for port in service["ports"]] == ["127.0.0.1:8000:8000"]
    assert service["environment"] == {"WHISPER_HOST": "0.0.0.0", "WHISPER_PORT": "8000"}
    assert service["env_file"] == [{"path": ".env", "required": False}]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_no_more_than_it_must(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("ipc") != "host"


@pytest.mark.parametrize("name", SERVICES)
def test_all_uploads_that_are_accepted_fit_into_the_tmpfs(
    compose: dict[str, Any], name: str
) -> None:
    (mount,) = compose["services"][name]["tmpfs"]
    size = re.search(r"size=(\d+)g", mount)
    assert size is not None
    limits = Settings.model_fields
    assert int(size[1]) * 2**30 > (
        limits["max_uploads"].default * limits["max_upload_bytes"].default
    )


def test_only_the_gpu_service_starts_unasked(compose: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles") for name, service in compose["services"].items()}
    assert profiles == {
        "whisper": None,
        "whisper-cpu": ["cpu"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_every_file_that_is_mounted_or_built_from_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in compose["volumes"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_prometheus_asks_for_the_name_that_the_service_has(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    for name in SERVICES:
        aliases = compose["services"][name]["networks"]["default"]["aliases"]
        assert target in [f"{alias}:8000" for alias in aliases]
