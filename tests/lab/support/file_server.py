"""A server of files on this machine, which can be told to misbehave."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What a server gives, and what it was asked.

    Attributes:
        address: of the server, without a slash at the end.
        files: content by path.
        cut: close the connection after so many bytes of a body; 0: never.
        parts: whether a range of a file can be asked for.
        sleep: seconds before an answer.
        asked: (path, Range header or "") of every request.
        given: bytes of bodies that were sent.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    parts: bool = True
    sleep: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    given: int = 0


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            served.asked.append((self.path.lstrip("/"), wanted))
            time.sleep(served.sleep)
            content = served.files.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            first = int(match[1]) if served.parts and (match := re.fullmatch(r"bytes=(\d+)-", wanted)) else 0
            if first >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            body = content[first:][: served.cut or None]
            served.given += len(body)
            self.wfile.write(body)

        def log_message(self, format: str, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
