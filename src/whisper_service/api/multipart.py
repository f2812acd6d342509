"""A multipart form as it arrives: text fields in memory, one file, everything bounded.

Starlette's parser does not bound the file, does not say which field is wrong, and takes a form
that breaks off for a whole one; so this sits on python-multipart's callbacks directly.
"""

from __future__ import annotations

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from whisper_service.api.refusals import FILE_FIELD, invalid, malformed, shorten, too_large
from whisper_service.errors import Fault, ServiceError


@dataclass(frozen=True)
class FormLimits:
    file_bytes: int  # the one file
    field_bytes: int = 64 * 1024  # each of the others
    parts: int = 64  # the form's fields, files included


class MultipartForm:
    """Feed it the body; it collects `fields`, and hands the file on through `take_file_bytes`."""

    def __init__(self, boundary: bytes, limits: FormLimits) -> None:
        self.fields: list[tuple[str, str]] = []
        self.has_file = False
        self.file_size = 0
        self._limits = limits
        self._parts = 0
        self._complete = False
        # The part that is being read
        self._name = ""
        self._is_file = False
        self._disposition = b""
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._text = bytearray()
        self._file_bytes = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end_form,
                },
            )
        except FormParserError:
            raise malformed("The multipart boundary is too long.") from None

    def feed(self, chunk: bytes) -> None:
        """Parse the next piece of the body.

        Raises:
            ServiceError: what came so far can no longer become a form that is accepted.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise malformed(f"The body is not a valid multipart form: {error}.") from None

    @property
    def pending_file_bytes(self) -> int:
        return len(self._file_bytes)

    def take_file_bytes(self) -> bytes:
        """The file's bytes that came in since the last call."""
        taken = bytes(self._file_bytes)
        self._file_bytes.clear()
        return taken

    def finish(self) -> None:
        """The body has ended.

        Raises:
            ServiceError: the form has not.
        """
        if not self._complete:
            raise malformed(
                "The form ends before its closing boundary: the upload was cut short, or the "
                "boundary is not the one that the content-type header names."
            )

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            raise malformed(f"The form has more than {self._limits.parts} parts.")
        self._disposition = b""
        self._text.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or not options.get(b"name"):
            raise malformed(
                "A part of the form has no `Content-Disposition: form-data` header with a name."
            )
        # Names of ours are all ASCII: another one only has to be shown in an error.
        self._name = options[b"name"].decode("utf-8", "replace")
        # `filename*` is how some clients write names that are not ASCII.
        self._is_file = b"filename" in options or b"filename*=" in self._disposition.lower()
        if self._is_file:
            self._begin_file()
        elif self._name == FILE_FIELD:
            raise invalid(
                FILE_FIELD,
                "was sent as text: it must be a file upload, a part with a filename "
                "(curl: -F file=@speech.wav).",
            )

    def _begin_file(self) -> None:
        if self._name != FILE_FIELD:
            shown = shorten(self._name)
            raise ServiceError(
                Fault.UNKNOWN_FIELD,
                f"{shown!r} was sent as a file: the only file of this form is {FILE_FIELD!r}.",
                shown,
            )
        if self.has_file:
            raise invalid(FILE_FIELD, "was sent more than once: send one file with each request.")
        self.has_file = True

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.file_size += end - start
            if self.file_size > self._limits.file_bytes:
                raise too_large(self._limits.file_bytes)
            self._file_bytes += data[start:end]
        else:
            if len(self._text) + end - start > self._limits.field_bytes:
                raise invalid(self._name, f"is longer than {self._limits.field_bytes} bytes.")
            self._text += data[start:end]

    def _end_part(self) -> None:
        if self._is_file:
            return
        try:
            self.fields.append((self._name, self._text.decode("utf-8")))
        except UnicodeDecodeError:
            raise invalid(self._name, "is not valid UTF-8 text.") from None

    def _end_form(self) -> None:
        self._complete = True


def boundary_of(content_type: str | None) -> bytes:
    """The boundary that a request's content-type header names.

    Raises:
        ServiceError: the request is no multipart form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        sent = f"not {shorten(content_type)!r}" if content_type else "and none was sent"
        raise malformed(f"The content-type must be multipart/form-data, {sent}.")
    boundary = options.get(b"boundary")
    if not boundary:
        raise malformed("The content-type header names no multipart boundary.")
    return boundary
