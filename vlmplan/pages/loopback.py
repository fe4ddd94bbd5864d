"""Who may ask a page's server? One person, on this machine, from the page itself.

(files, what answers) -> a server on 127.0.0.1 that stands until it is stopped. A request is heard where all of this
holds: its path begins with a token drawn by this process, which only the page's address has; its ``Host`` is the
server's own, so that no name of somebody else's that points here will do; its ``Origin``, where the browser says one,
is too. Questions are JSON by POST, which a page of another site cannot send without asking first (CORS), and nothing
here says yes.
"""

import os
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from vlmplan import inert
from vlmplan.document import parse_json, to_json
from vlmplan.errors import InputError

ADDRESS = "127.0.0.1"
ASK = "ask"  # the path that questions are sent to
MOST_BYTES = 16 * 1024  # of a question
IDLE_S = 60.0  # before a connection that says nothing is closed
_JSON = "application/json"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What is served at a path: its bytes, and what they are."""

    kind: str
    content: bytes


class _Refused(Exception):  # noqa: N818 - it is the answer
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    server: "Loopback"

    def do_GET(self) -> None:
        """Send a file."""
        self._reply(self._file)

    def do_POST(self) -> None:
        """Answer a question."""
        self._reply(self._answer)

    def _reply(self, find: Callable[[str], File]) -> None:
        try:
            status, file = HTTPStatus.OK, find(self._asked_for())
        except _Refused as error:
            status, file = error.status, File(kind="text/plain; charset=utf-8", content=f"{error}\n".encode())
            self.close_connection = True  # what else was sent with it is not read
        self.send_response(status)
        headers = {**_HEADERS, "Content-Type": file.kind, "Content-Length": str(len(file.content))}
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(file.content)

    def _asked_for(self) -> str:
        """Return the path below the token. Raises _Refused for who may not ask."""
        hosts = self.server.hosts
        if len(self.headers.get_all("Host", [])) != 1 or self.headers["Host"] not in hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, f"expected a request to {hosts[0]}")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            raise _Refused(HTTPStatus.FORBIDDEN, "expected a request of this page, not of another site")
        token, slash, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "expected the whole address that vlmplan printed, token included")
        return path

    def _file(self, path: str) -> File:
        if path not in self.server.files:
            raise _Refused(HTTPStatus.NOT_FOUND, "nothing is here")
        return self.server.files[path]

    def _answer(self, path: str) -> File:
        if path != ASK:
            raise _Refused(HTTPStatus.NOT_FOUND, "nothing is asked here")
        if self.headers.get_content_type() != _JSON:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {_JSON}")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 10):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MOST_BYTES} bytes")
        try:
            text = self.rfile.read(int(length)).decode()
            answer = self.server.answer(parse_json(text))
        except (InputError, UnicodeDecodeError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, inert.short(inert.terminal(str(error)))) from None
        return File(kind=_JSON, content=to_json(answer).encode())

    def version_string(self) -> str:
        """Say what serves, and no versions."""
        return "vlmplan"

    def log_message(self, *_: Any) -> None:
        """Requests are nobody's business."""


class Loopback(ThreadingHTTPServer):
    """Files and answers for the page of one person; ``url`` is where. Threads, for browsers hold connections open."""

    allow_reuse_address = os.name == "posix"  # elsewhere it would share a port that is taken

    def __init__(self, files: Mapping[str, File], answer: Callable[[Any], Any], port: int = 0) -> None:
        """Take ``port``, or a free one for 0; ``answer`` may raise InputError. Raises InputError for a port taken."""
        self.files, self.answer, self.token = files, answer, secrets.token_urlsafe(24)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--port: {port} cannot be used ({error.strerror}); give another, or none for one that is free"
            ) from None
        self.hosts = (f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}")

    @property
    def url(self) -> str:
        """The page's address, with the token."""
        return f"http://{self.hosts[0]}/{self.token}/"

    def server_bind(self) -> None:
        """Bind, and ask no name server for this machine's name, as http.server would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, *_: Any) -> None:
        """A browser that has gone is none; a bug is told, its texts made inert, and the page goes on."""
        if not isinstance(sys.exception(), OSError):
            sys.stderr.write("".join(f"{inert.terminal(line)}\n" for line in traceback.format_exc().splitlines()))
