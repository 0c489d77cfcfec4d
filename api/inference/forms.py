"""The files in a multipart/form-data body."""

import logging
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.inference.errors import InputError

MAX_PARTS = 1_100  # a thousand files and some fields that are none

# It logs a warning for every damaged form; the client hears of it in the answer.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file of a form: the name of its field and its bytes."""

    name: str
    data: bytes


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)

    @property
    def disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get(b"content-disposition", b"").decode("latin-1"))[1]

    @property
    def is_file(self) -> bool:
        return b"filename" in self.disposition or self.headers.get(b"content-type", b"").startswith(b"image/")

    def as_file(self) -> FormFile:
        name = self.disposition.get(b"name", b"file").decode("utf-8", "replace")
        return FormFile(name, b"".join(self.chunks))


class _Collector:
    """Callbacks for the parser: puts the pieces of each part together."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False
        self._name = b""
        self._value = b""

    def on_part_begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise InputError(413, "too_long", f"A form may have at most {MAX_PARTS:,} parts. Received: more.")
        self.parts.append(_Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].chunks.append(data[start:end])

    def on_end(self) -> None:
        self.complete = True


def read_form(content_type: str, body: bytes) -> list[FormFile]:
    """The files of a multipart/form-data body in their order, under any field name; other fields are passed over.

    Raises InputError: 413 above 1,100 parts, 422 for a body that is damaged or holds no file.
    """
    latin = content_type.encode("latin-1", "replace").decode("latin-1")  # the parser knows no other characters
    boundary = parse_options_header(latin)[1].get(b"boundary")
    if not boundary:
        raise InputError(422, "form_invalid", "multipart/form-data needs a boundary.", received=content_type)
    collector = _Collector()
    callbacks = {name: getattr(collector, name) for name in dir(collector) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict of just these
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InputError(422, "form_invalid", f"The form cannot be read: {error}", received=_size(body)) from error
    if not collector.complete:
        raise InputError(
            422, "form_invalid", "The form is cut short: its closing boundary is missing.", "", _size(body)
        )
    files = [part.as_file() for part in collector.parts if part.is_file]
    if not files:
        fields = ", ".join(part.disposition.get(b"name", b"").decode("utf-8", "replace") for part in collector.parts)
        detail = f"The form holds no file; with curl: -F file=@digit.png. Received fields: {fields or 'none'}."
        raise InputError(422, "missing", detail, "/file", fields)
    return files


def _size(body: bytes) -> str:
    return f"{len(body)} bytes"
