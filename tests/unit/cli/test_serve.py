from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.main import get_command

from tests.unit.cli.conftest import Command
from whisper_service.cli import serve as serving
from whisper_service.cli.app import app
from whisper_service.cli.setting_groups import GROUPS, grouped_settings
from whisper_service.settings import Settings, variable


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings with which the service was started, instead of starting it."""
    for name in Settings.model_fields:
        monkeypatch.setenv(variable(name), "")
    monkeypatch.chdir("/")
    seen: list[Settings] = []
    monkeypatch.setattr(serving, "start_service", lambda settings: seen.append(settings) or 7)
    return seen


def test_every_setting_is_an_option_with_its_description(command: Command) -> None:
    parameters = {each.name: each for each in get_command(app).commands["serve"].params}
    for name, setting in Settings.model_fields.items():
        option = parameters[name]
        assert f"--{name.replace('_', '-')}" in option.opts
        assert setting.description in option.help


def test_every_group_begins_with_a_setting() -> None:
    assert set(GROUPS) <= set(Settings.model_fields)
    assert all(group for group, _, _ in grouped_settings())


def test_options_become_settings(command: Command, served: list[Settings]) -> None:
    result = command(
        "serve", "--port", "9001", "--no-vad-filter", "--public-metrics", "--model-aliases", "a,b",
        "--engine-args", '{"seed": 1}', "--api-keys", "sk-one",
    )  # fmt: skip
    assert result.exit_code == 7, result.stderr
    (settings,) = served
    assert (settings.port, settings.vad_filter, settings.public_metrics) == (9001, False, True)
    assert settings.model_aliases == ("a", "b")
    assert settings.engine_args == {"seed": 1}
    assert settings.api_keys[0].get_secret_value() == "sk-one"
    assert settings.max_uploads == Settings(_env_file=None).max_uploads


def test_an_option_counts_more_than_a_variable(
    command: Command, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_PORT", "9002")
    command("serve")
    command("serve", "--port", "9003")
    assert [settings.port for settings in served] == [9002, 9003]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "--port: Input should be a valid integer"),
        (["--engine-args", "{"], "WHISPER_ENGINE_ARGS: must be JSON"),
        (["--api-keys", ","], "there is no key in it"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(
    command: Command, served: list[Settings], arguments: list[str], message: str
) -> None:
    result = command("serve", *arguments)
    assert result.exit_code == 2
    assert message.replace("WHISPER_ENGINE_ARGS", "--engine-args") in result.stderr
    assert not served


def test_an_empty_option_does_not_open_a_door(command: Command, served: list[Settings]) -> None:
    result = command("serve", "--api-keys", "")
    assert result.exit_code == 2
    assert not served


def test_help_is_there_at_once() -> None:
    code = (
        "import sys; from whisper_service.cli.app import app; app(['--help'], "
        "standalone_mode=False); heavy = {'vllm', 'torch', 'numpy', 'fastapi', 'uvicorn', "
        "'transformers', 'huggingface_hub'} & set(sys.modules); print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert "transcribe" in done.stdout
    assert "HEAVY []" in done.stdout, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_it(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from whisper_service.cli.app import main; main()"],
        env={**os.environ, "_WHISPER_SERVICE_COMPLETE": f"source_{shell}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "_WHISPER_SERVICE_COMPLETE" in done.stdout


def test_each_command_helps(command: Command) -> None:
    for words in (["serve"], ["transcribe"], ["models"], ["models", "pull"], ["doctor"], ["bench"]):
        result = command(*words, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.stdout
    for words in (["serve"], ["transcribe"], ["models", "pull"], ["bench"]):
        assert "Examples" in command(*words, "--help").stdout


def test_the_version_is_told(command: Command) -> None:
    assert command("--version").stdout.startswith("whisper-service 0.")
