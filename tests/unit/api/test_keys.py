"""Without a key nobody gets in, and no key ever gets out."""

from __future__ import annotations

import hmac
import logging
from types import SimpleNamespace

import httpx2
import openai
import pytest
from openapi_spec_validator import validate
from pydantic import SecretStr

from whisper_service.api import keys as keys_module
from whisper_service.api.app import create_app
from whisper_service.api.keys import KeyRing, bearer_key, network_of
from whisper_service.service.contract import State
from whisper_service.settings import Settings

FIRST, SECOND = "sk-first-0123456789", "sk-second-0123456789"
TRANSCRIPTIONS = "/v1/audio/transcriptions"


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def locked(app):
    app.state.keys = KeyRing([SecretStr(FIRST), SecretStr(SECOND)])
    return app


@pytest.fixture
def never_read():
    async def body():
        pytest.fail("the body was read")
        yield b""

    return body


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/audio/transcriptions"),
        ("POST", "/audio/translations"),
        ("GET", "/models"),
        ("GET", "/models/whisper-1"),
        ("GET", "/models/openai/none"),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearing("sk-wrong-0123456789"),
        bearing(""),
        bearing(FIRST[:-1]),
        bearing(FIRST + "x"),
        bearing(FIRST.upper()),
        {"authorization": FIRST},
        {"authorization": f"Basic {FIRST}"},
        {"authorization": f"Bearer, Bearer {FIRST}"},
        {"api-key": FIRST},
    ],
)
async def test_without_a_right_key_nothing_is_read(
    client, locked, never_read, raw, error_of, transcriber, prefix, method, path, headers
) -> None:
    content = {"content": never_read(), "headers": raw.headers | headers}
    content = content if method == "POST" else {"headers": headers}
    response = await client.request(method, f"http://test{prefix}{path}", **content)
    assert response.status_code == 401
    error = error_of(response)
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "invalid_api_key",
        None,
    )
    assert response.headers["www-authenticate"] == "Bearer"
    assert "sk-" not in response.text
    assert transcriber.admission.accepted == 0


@pytest.mark.parametrize("key", [FIRST, SECOND])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
async def test_each_of_the_keys_opens(client, locked, post, key, scheme) -> None:
    headers = {"authorization": scheme + key}
    assert (await post(headers=headers)).status_code == 200
    assert (await client.get("models", headers=headers)).status_code == 200


async def test_a_key_in_any_script_is_only_a_wrong_one(client, locked, error_of) -> None:
    for value in (
        "Bearer schlüssel".encode("latin-1"),
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 9000,
    ):
        response = await client.get("models", headers=[(b"authorization", value)])
        assert response.status_code == 401
        error_of(response)


async def test_the_key_is_asked_for_before_the_service_is_looked_at(
    client, locked, transcriber
) -> None:
    transcriber.state = State.STARTING
    assert (await client.get("models")).status_code == 401
    assert (await client.get("models", headers=bearing(FIRST))).status_code == 503


async def test_without_configured_keys_any_key_is_as_good_as_none(client, app) -> None:
    assert (await client.get("models", headers=bearing("anything"))).status_code == 200
    assert (await client.get("models")).status_code == 200


async def test_the_sdk_raises_an_authentication_error(locked) -> None:
    transport = httpx2.ASGITransport(locked)
    async with httpx2.AsyncClient(transport=transport) as http_client:
        arguments = {"base_url": "http://test/v1", "http_client": http_client, "max_retries": 0}
        with pytest.raises(openai.AuthenticationError) as refusal:
            await openai.AsyncOpenAI(api_key="wrong", **arguments).models.list()
        assert refusal.value.code == "invalid_api_key"
        assert (await openai.AsyncOpenAI(api_key=SECOND, **arguments).models.list()).data


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_health_is_open_to_all(client, locked, path) -> None:
    assert (await client.get(f"http://test{path}")).status_code == 200


@pytest.mark.parametrize("public", [True, False])
@pytest.mark.parametrize(
    ("setting", "paths"),
    [
        ("public_metrics", ["/metrics"]),
        ("public_docs", ["/docs", "/docs/favicon.png", "/openapi.json"]),
    ],
)
async def test_metrics_and_docs_are_open_where_the_settings_say_so(
    client, locked, settings, setting, paths, public
) -> None:
    locked.state.settings = settings.model_copy(update={setting: public})
    for path in paths:
        response = await client.get(f"http://test{path}")
        assert response.status_code == (200 if public else 401)
        response = await client.get(f"http://test{path}", headers=bearing(FIRST))
        assert response.status_code == 200


def test_metrics_are_closed_and_docs_are_open_by_default() -> None:
    settings = Settings(_env_file=None)
    assert (settings.public_metrics, settings.public_docs) == (False, True)


async def test_the_log_names_the_key_and_never_shows_one(client, locked, post, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    await post(headers=bearing(SECOND))
    await client.get("models", headers=bearing("sk-wrong-0123456789"))
    lines = [r for r in caplog.records if r.name == "whisper_service.access"]
    assert [line.fields.get("user") for line in lines] == ["key-2", None]
    assert "sk-" not in caplog.text


def test_no_key_shows_in_any_representation() -> None:
    settings = Settings(_env_file=None, api_keys=(SecretStr(FIRST),))
    ring = KeyRing.of(settings)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(vars(ring))):
        assert FIRST not in shown


def test_keys_are_told_apart_and_listed_once() -> None:
    ring = KeyRing(map(SecretStr, (FIRST, SECOND, FIRST)))
    assert (ring.name_of(FIRST), ring.name_of(SECOND)) == ("key-1", "key-2")
    assert ring.name_of("another") is None
    assert ring
    assert not KeyRing(())


def test_the_keys_of_the_file_follow_those_of_the_variable(tmp_path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# for the batch job\n\n  {SECOND}  \n")
    settings = Settings(_env_file=None, api_keys=FIRST, api_keys_file=path)
    ring = KeyRing.of(settings)
    assert (ring.name_of(FIRST), ring.name_of(SECOND)) == ("key-1", "key-2")
    assert ring.name_of("# for the batch job") is None


@pytest.mark.parametrize("offered", [FIRST, SECOND, "wrong", ""])
def test_every_key_is_compared_whichever_fits(monkeypatch, offered) -> None:
    compared = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    ring = KeyRing(map(SecretStr, (FIRST, SECOND, "third")))
    double = SimpleNamespace(compare_digest=compare_digest, digest=hmac.digest)
    monkeypatch.setattr(keys_module, "hmac", double)
    ring.name_of(offered)
    assert compared == [(32, 32)] * 3


def test_two_processes_have_different_digests_of_one_key() -> None:
    assert vars(KeyRing([SecretStr(FIRST)])) != vars(KeyRing([SecretStr(FIRST)]))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer x", "x"),
        ("bearer   x ", "x"),
        ("Bearer a b", "a b"),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        (None, None),
        ("Token x", None),
    ],
)
def test_how_a_key_is_sent(header, key) -> None:
    assert bearer_key(header) == key


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, "unknown"),
    ],
)
def test_an_address_stands_for_its_customer(address, network) -> None:
    assert network_of(address) == network


@pytest.fixture(scope="module")
def locked_document():
    class Nothing:
        pass

    settings = Settings(_env_file=None, api_keys=FIRST)
    return create_app(settings, Nothing()).openapi()


def test_the_document_of_a_locked_service_says_where_a_key_is_needed(locked_document) -> None:
    validate(locked_document)
    schemes = locked_document["components"]["securitySchemes"]
    assert [(each["type"], each["scheme"]) for each in schemes.values()] == [("http", "bearer")]
    needs_key = {
        path
        for path, operations in locked_document["paths"].items()
        for operation in operations.values()
        if operation.get("security")
    }
    assert needs_key == {
        "/api/v1/audio/transcriptions",
        "/api/v1/audio/translations",
        "/api/v1/models",
        "/api/v1/models/{model}",
        "/metrics",
    }
    for path in needs_key:
        for operation in locked_document["paths"][path].values():
            examples = operation["responses"]["401"]["content"]["application/json"]["examples"]
            assert {each["value"]["error"]["code"] for each in examples.values()} == {
                "invalid_api_key"
            }
    assert FIRST not in str(locked_document)


def test_the_document_of_an_open_service_asks_for_no_key(app) -> None:
    document = app.openapi()
    assert "securitySchemes" not in document["components"]
    assert "401" not in str(document["paths"])
