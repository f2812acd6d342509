"""The settings say what is wrong, and `.env.example` says all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.env_example import render
from whisper_service.settings import (
    Settings,
    WrongSettingsError,
    load_settings,
    read_key_file,
    variable,
)

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
        ("WHISPER_PORT", "-1"),
        ("WHISPER_ENGINE_ARGS", "[1, 2]"),
        ("WHISPER_MAX_WINDOWS_IN_FLIGHT", "0"),
        ("WHISPER_ENCODER_CACHE_WINDOWS", "-1"),
        ("WHISPER_COMPRESSION_RATIO_THRESHOLD", "0"),
        ("WHISPER_LOGPROB_THRESHOLD", "0.5"),
        ("WHISPER_LOGPROB_THRESHOLD", "likely"),
        ("WHISPER_LANGUAGE_THRESHOLD", "1.1"),
        ("WHISPER_MAX_AUDIO_SECONDS", "0"),
        ("WHISPER_UPLOAD_TIMEOUT_SECONDS", "-5"),
        ("WHISPER_DECODE_TIMEOUT_SECONDS", "soon"),
        ("WHISPER_DECODE_WORKERS", "0"),
        ("WHISPER_MAX_PROMPT_CHARS", "1.5"),
        ("WHISPER_DRAIN_SECONDS", "-1"),
        ("WHISPER_API_KEYS", ","),
        ("WHISPER_API_KEYS", "one two"),
        ("WHISPER_API_KEYS", "schlüssel"),
        ("WHISPER_API_KEYS_FILE", "/nowhere/keys"),
        ("WHISPER_API_KEYS_FILE", "/"),
        ("WHISPER_PUBLIC_METRICS", "some"),
        ("WHISPER_PUBLIC_DOCS", "some"),
        ("WHISPER_MAX_FORM_PARTS", "0"),
        ("WHISPER_MAX_FIELD_BYTES", "0"),
        ("WHISPER_UPLOAD_IDLE_SECONDS", "0"),
        ("WHISPER_REQUEST_TIMEOUT_SECONDS", "0"),
        ("WHISPER_MAX_QUEUED_WINDOWS", "-1"),
        ("WHISPER_MAX_UPLOADS", "0"),
        ("WHISPER_MAX_CONNECTIONS", "0"),
        ("WHISPER_HEADER_TIMEOUT_SECONDS", "0"),
        ("WHISPER_KEEP_ALIVE_SECONDS", "0"),
        ("WHISPER_SEND_TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettingsError, match=name):
        load_settings()


def test_a_refusal_says_what_was_given_and_what_the_setting_is_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPER_PROFILE", "tpu")
    with pytest.raises(WrongSettingsError) as refusal:
        load_settings()
    message = str(refusal.value)
    assert "'tpu'" in message
    assert "'gpu'" in message, "what is accepted"
    assert str(Settings.model_fields["profile"].description) in message


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_PORT", "many")
    monkeypatch.setenv("WHISPER_LOG_LEVEL", "loud")
    with pytest.raises(WrongSettingsError) as refusal:
        load_settings()
    assert [line.partition(":")[0] for line in str(refusal.value).splitlines()] == [
        "WHISPER_PORT",
        "WHISPER_LOG_LEVEL",
    ]


@pytest.mark.parametrize("name", [*Settings.model_fields])
def test_every_empty_value_is_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(variable(name), "")
    assert load_settings() == Settings(_env_file=None)


def test_engine_arguments_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_ENGINE_ARGS", '{"max_num_seqs": 4, "enforce_eager": true}')
    assert load_settings().engine_args == {"max_num_seqs": 4, "enforce_eager": True}


def test_a_wrong_line_of_the_env_file_is_refused_like_a_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHISPER_PORT=many\nWHISPER_ENGINE_ARGS=\n")
    with pytest.raises(WrongSettingsError, match="WHISPER_PORT"):
        load_settings()


def test_an_env_file_of_other_programs_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=secret\nWHISPER_PORT=9001\n")
    assert load_settings().port == 9001


def test_the_environment_wins_over_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("WHISPER_PORT=9001\n")
    monkeypatch.setenv("WHISPER_PORT", "9002")
    assert load_settings().port == 9002


def test_settings_cannot_be_changed_while_they_are_used() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_PORT", "")
    assert load_settings().port == 8000


def test_aliases_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("whisper-1, gpt-4o-transcribe,", " whisper-1 ,,gpt-4o-transcribe"):
        monkeypatch.setenv("WHISPER_MODEL_ALIASES", value)
        assert load_settings().model_aliases == ("whisper-1", "gpt-4o-transcribe")
    monkeypatch.setenv("WHISPER_MODEL_ALIASES", ",")
    assert load_settings().model_aliases == ()


def test_a_line_of_the_env_file_counts(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHISPER_PORT=9001\n")
    assert load_settings().port == 9001


def test_keys_are_split_at_commas_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_API_KEYS", " sk-one, sk-two,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["sk-one", "sk-two"]
    assert "sk-" not in f"{settings!r} {settings}"


@pytest.mark.parametrize("value", ["sk-good,sk bad", "sk-bäd"])
def test_a_wrong_key_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("WHISPER_API_KEYS", value)
    with pytest.raises(WrongSettingsError) as refusal:
        load_settings()
    assert "WHISPER_API_KEYS: " in str(refusal.value)
    assert "sk-" not in str(refusal.value)
    assert "sk bad" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no key"),
        (b"# only this\n\n   \n", "there is no key"),
        (b"sk-one two\n", "printable ASCII"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_without_good_keys_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    monkeypatch.setenv("WHISPER_API_KEYS_FILE", str(path))
    with pytest.raises(WrongSettingsError, match=f"WHISPER_API_KEYS_FILE: .*{message}") as refusal:
        load_settings()
    assert str(path) in str(refusal.value)
    assert "sk-" not in str(refusal.value)


def test_comments_and_blank_lines_of_the_file_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# whose this is\n\n  sk-one  \nsk,two\r\n")
    assert [key.get_secret_value() for key in read_key_file(path)] == ["sk-one", "sk,two"]


def test_a_file_of_keys_is_enough_to_need_one(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("sk-one")
    settings = Settings(_env_file=None, api_keys_file=path)
    assert settings.needs_key
    assert settings.listen_host == "0.0.0.0"
    assert not Settings(_env_file=None).needs_key
