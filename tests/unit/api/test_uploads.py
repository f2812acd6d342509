"""An upload is counted, timed and cleaned up, whatever the client says about it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from whisper_service.api import upload
from whisper_service.api.multipart import FormLimits, MultipartForm
from whisper_service.errors import ServiceError

MiB = 1024 * 1024
ROUTE = "audio/transcriptions"


@pytest.fixture
def opened(monkeypatch) -> list:
    """Every spooled file that an upload opens."""
    files = []

    class Remembered(tempfile.SpooledTemporaryFile):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            files.append(self)

    monkeypatch.setattr(upload, "SpooledTemporaryFile", Remembered)
    return files


async def in_pieces(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 64 * 1024, 999_999, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_file_arrives_byte_for_byte(
    client, raw, transcriber, opened, size, chunked
) -> None:
    content = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    form = raw.file(content[:size])
    body = in_pieces(form.body) if chunked else form.body
    response = await client.post(ROUTE, content=body, headers=form.headers)
    assert response.status_code == 200
    assert transcriber.audio == content[:size]
    assert all(file.closed for file in opened)


async def test_a_large_file_goes_to_disk_and_not_to_memory(client, raw, opened) -> None:
    form = raw.file(b"x" * 2 * MiB)
    await client.post(ROUTE, content=in_pieces(form.body), headers=form.headers)
    assert [file._rolled for file in opened] == [True]


async def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read(
    client, raw, error_of
) -> None:
    async def never_read() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    headers = raw.headers | {"content-length": "5000000"}
    response = await client.post(ROUTE, content=never_read(), headers=headers)
    assert response.status_code == 413
    assert error_of(response)["code"] == "upload_too_large"


@pytest.mark.parametrize("declared", [None, "100", "0"])
async def test_bytes_are_counted_whatever_length_is_declared(
    client, raw, error_of, opened, declared
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield raw.file(b"").body.removesuffix(b"\r\n--frontier--\r\n")
        while True:
            sent += 64 * 1024
            yield b"x" * 64 * 1024

    headers = raw.headers | ({"content-length": declared} if declared else {})
    response = await client.post(ROUTE, content=endless(), headers=headers)
    assert response.status_code == 413
    assert error_of(response)["param"] == "file"
    assert sent < 3_200_000  # it stopped at the limit
    assert all(file.closed for file in opened)


async def test_the_file_may_be_as_large_as_the_limit_says(client, raw, error_of) -> None:
    exactly = raw.file(b"x" * 3_000_000)
    response = await client.post(ROUTE, content=exactly.body, headers=exactly.headers)
    assert response.status_code == 200
    exactly.parts.pop()
    over = exactly.file(b"x" * 3_000_001)
    response = await client.post(ROUTE, content=over.body, headers=over.headers)
    assert response.status_code == 413
    assert "3000000 bytes" in error_of(response)["message"]


async def test_a_preamble_or_an_epilogue_without_end_is_refused(client, raw) -> None:
    form = raw.file()
    body = form.body + b"x" * 5_000_000
    response = await client.post(ROUTE, content=in_pieces(body), headers=form.headers)
    assert response.status_code == 413


async def test_a_slow_client_is_given_up(client, app, settings, raw, error_of, opened) -> None:
    app.state.settings = settings.model_copy(update={"upload_timeout_seconds": 0.05})

    async def trickle() -> AsyncIterator[bytes]:
        for piece in raw.parts:
            yield piece
        await asyncio.sleep(60)

    response = await client.post(ROUTE, content=trickle(), headers=raw.headers)
    assert response.status_code == 408
    assert error_of(response)["code"] == "upload_too_slow"
    assert all(file.closed for file in opened)


async def test_no_file(client, raw, error_of) -> None:
    response = await client.post(ROUTE, content=raw.body, headers=raw.headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == "missing_required_parameter"
    assert error_of(response)["param"] == "file"


async def test_an_empty_file(post, error_of) -> None:
    error = error_of(await post(file=("speech.wav", b"")))
    assert error["param"] == "file"
    assert "empty" in error["message"]


async def test_two_files(client, raw, error_of, opened) -> None:
    form = raw.file().file()
    error = error_of(await client.post(ROUTE, content=form.body, headers=form.headers))
    assert error["param"] == "file"
    assert "one file" in error["message"]
    assert all(file.closed for file in opened)


async def test_a_file_in_another_field(client, raw, error_of) -> None:
    form = raw.file(name="audio")
    error = error_of(await client.post(ROUTE, content=form.body, headers=form.headers))
    assert error["param"] == "audio"
    assert "'file'" in error["message"]


async def test_a_file_sent_as_text(client, raw, error_of) -> None:
    form = raw.text("file", "speech.wav")
    error = error_of(await client.post(ROUTE, content=form.body, headers=form.headers))
    assert error["param"] == "file"
    assert "-F file=@speech.wav" in error["message"]


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="file"; filename="Gruß.mp3"',
        "form-data; name=\"file\"; filename*=utf-8''Gru%C3%9F.mp3",
        'form-data; name="file"; filename=""',
        "form-data; name=file; filename=a.mp3",
        r'form-data; filename="C:\a\b.mp3"; name="file"',
    ],
)
async def test_filenames_come_in_many_spellings(client, raw, transcriber, disposition) -> None:
    form = raw.part(disposition, b"RIFF")
    response = await client.post(ROUTE, content=form.body, headers=form.headers)
    assert response.status_code == 200
    assert transcriber.audio == b"RIFF"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=frontier",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 300}",
        "multipart/form-data; boundary=another",
        ";;;",
    ],
)
async def test_a_body_that_is_no_form(client, raw, error_of, content_type) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = await client.post(ROUTE, content=raw.file().body, headers=headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == "malformed_request"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--frontier--\r\n",
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf',
        b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\nContent-Type: text/plain\r\n\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\nContent-Disposition: attachment; name=file\r\n\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\n: x\r\n\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\n" + b"X: y\r\n" * 100 + b"\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--frontier--\r\n",
        b"RIFF\x00\x00\x00\x00WAVE",
    ],
)
async def test_a_form_that_is_broken(client, raw, error_of, body) -> None:
    response = await client.post(ROUTE, content=body, headers=raw.headers)
    assert response.status_code == 400
    assert error_of(response)["code"] in {"malformed_request", "missing_required_parameter"}


async def test_a_form_of_too_many_parts(client, raw, error_of) -> None:
    for number in range(100):
        raw.text(f"field{number}", "x")
    response = await client.post(ROUTE, content=raw.file().body, headers=raw.headers)
    assert response.status_code == 400
    assert "more than 64 parts" in error_of(response)["message"]


@pytest.mark.parametrize("declared", [b"-1", b"many", b"\xb2", b"1.5"])
async def test_a_length_that_is_no_number(client, raw, error_of, declared) -> None:
    headers = [(b"content-type", raw.headers["content-type"].encode())]
    headers.append((b"content-length", declared))
    response = await client.post(ROUTE, content=raw.file().body, headers=headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == "malformed_request"


async def test_a_client_that_leaves_while_it_uploads_leaves_nothing_behind(
    app, raw, opened, caplog
) -> None:
    messages = [
        {"type": "http.request", "body": raw.file(b"x" * 100_000).body[:50_000], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive() -> dict:
        return messages.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in raw.headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/audio/transcriptions",
        "query_string": b"",
        "headers": headers,
    }
    await app(scope, receive, send)
    assert [file.closed for file in opened] == [True]
    assert sent[0]["status"] == 499
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_write_to_disk_that_is_under_way_ends_before_the_file_is_closed() -> None:
    begun, ended = asyncio.Event(), False
    loop = asyncio.get_running_loop()

    def slow_write() -> None:
        nonlocal ended
        loop.call_soon_threadsafe(begun.set)
        asyncio.run(asyncio.sleep(0.05))
        ended = True

    writing = asyncio.create_task(upload._in_thread(slow_write))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert ended


@given(data=st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_where_the_body_is_cut_into_chunks_does_not_matter(data) -> None:
    content = data.draw(st.lists(st.sampled_from([b"\r\n", b"--frontier", b"--", b"x", b"\x00"])))
    content = b"".join(content)
    assume(b"\r\n--frontier" not in b"\r\n" + content)  # a client chooses another boundary then
    head = b'--frontier\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    file = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + file + content + b"\r\n--frontier--\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6).map(sorted))
    form = MultipartForm(b"frontier", FormLimits(file_bytes=10_000))
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        form.feed(body[start:end])
    form.finish()
    assert form.fields == [("model", "m")]
    assert form.take_file_bytes() == content


@given(pieces=st.lists(st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"--frontier", b"\r\n", b"--", b'Content-Disposition: form-data; name="model"',
                     b'; filename="x"', b'name="file"', b":", b"\r\n\r\n", b"frontier--\r\n"]),
), max_size=12))  # fmt: skip
@hypothesis_settings(max_examples=150, deadline=None)
def test_bytes_of_any_kind_are_a_form_or_are_refused(pieces) -> None:
    form = MultipartForm(b"frontier", FormLimits(file_bytes=100))
    try:
        for piece in pieces:
            form.feed(piece)
        form.finish()
    except ServiceError:
        return
    assert form._complete


@given(body=st.binary(max_size=200), header=st.text(st.characters(max_codepoint=255), max_size=60))
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_body_and_no_content_type_makes_the_server_fail(client, body, header) -> None:
    value = f"multipart/form-data; boundary=frontier{header}".encode("latin-1")
    response = await client.post(ROUTE, content=body, headers=[(b"content-type", value)])
    assert response.status_code == 400
