"""The settings say what is wrong, and `.env.example` says all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.env_example import render
from whisper_service.settings import Settings, WrongSettingsError, load_settings, variable

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's own `.env` or environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def test_the_example_file_lists_exactly_the_settings_and_their_defaults() -> None:
    assert (ROOT / ".env.example").read_text() == render()


def test_every_setting_has_a_default_and_a_description() -> None:
    load_settings()
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHISPER_PORT", "many"),
        ("WHISPER_PORT", "70000"),
        ("WHISPER_PROFILE", "tpu"),
        ("WHISPER_ENGINE_ARGS", "{not json"),
        ("WHISPER_MAX_UPLOAD_BYTES", "0"),
        ("WHISPER_VAD_FILTER", "perhaps"),
        ("WHISPER_NO_SPEECH_THRESHOLD", "2"),
        ("WHISPER_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettingsError, match=name):
        load_settings()


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_PORT", "")
    assert load_settings().port == 8000


def test_aliases_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_MODEL_ALIASES", "whisper-1, gpt-4o-transcribe,")
    assert load_settings().model_aliases == ("whisper-1", "gpt-4o-transcribe")


def test_a_line_of_the_env_file_counts(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHISPER_PORT=9001\n")
    assert load_settings().port == 9001
