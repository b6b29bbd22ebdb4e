"""A small server for this machine alone: it answers GET, by a function, and reads no file by its path."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from diffsim.errors import ConfigError, DiffsimError
from diffsim.view.window import has_display

__all__ = ["Answer", "Query", "Server", "open_browser"]

_HOST = "127.0.0.1"
Query = Mapping[str, list[str]]
Answer = tuple[str, bytes]  # the kind of content, and the content

HTML, JSON = "text/html; charset=utf-8", "application/json"


class Server:
    """Serves until it is closed, in threads of its own.

    Args:
        answer: Called with a path, as `/runs.json`, and the query's values by name; None for what is not
            there. It may be called by several threads at once.
        port: Where to listen; 0 for one that is free.

    Attributes:
        address: What to open in a browser.

    Raises:
        ConfigError: The port is taken, or not allowed.
    """

    def __init__(self, answer: Callable[[str, Query], Answer | None], port: int = 0) -> None:
        try:
            self._server = _Threads((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"--port must be free, got {port} ({reason}); leave it out for any") from None
        self._server.answer = answer
        self._server.names = {f"{name}:{self.port}" for name in (_HOST, "localhost")}
        self.address = f"http://{_HOST}:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop to answer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Threads(ThreadingHTTPServer):
    """Ends with the process, and knows who answers."""

    daemon_threads = True
    block_on_close = False
    answer: Callable[[str, Query], Answer | None]
    names: set[str]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of pages that went away while they were answered."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Hands on what is asked; nothing is printed."""

    server: _Threads
    server_version = "diffsim"
    sys_version = ""

    def do_GET(self) -> None:
        if self.headers.get("Host") not in self.server.names:  # another site's name that leads here
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        parts = urlsplit(self.path)
        try:
            found = self.server.answer(unquote(parts.path), parse_qs(parts.query))
        except DiffsimError as error:
            self._send(HTTPStatus.CONFLICT, "text/plain; charset=utf-8", str(error).encode())
            return
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._send(HTTPStatus.OK, *found)

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the terminal is the run's."""


_POLICY = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'; form-action 'none'"


def open_browser(address: str) -> bool:
    """Open a page in a browser where there is a display for it; tell whether that was tried."""
    if not has_display():
        return False  # a browser in the terminal would take it away from the run
    import webbrowser

    with contextlib.suppress(webbrowser.Error):
        return webbrowser.open(address)
    return False
