# SPDX-License-Identifier: Apache-2.0
"""A web server that answers a number of chunk requests and keeps the others waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.updater.running import DEADLINE_S


class SlowSite:
    """What was asked, and how much may be answered.

    Attributes:
        url: of the folder that is served.
        asked: paths of requests that were answered with a body, in order.
    """

    def __init__(self, folder: Path, answers: int) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.url = ""
        self._left = answers
        self._changed = threading.Condition()

    def release(self) -> None:
        """Answer everything from now on."""
        with self._changed:
            self._left = 1 << 30
            self._changed.notify_all()

    def may_answer(self, path: str) -> bool:
        """Wait for a turn; False when there will be none."""
        with self._changed:
            if path.endswith(".cacnk"):
                if not self._changed.wait_for(lambda: self._left > 0, DEADLINE_S):
                    return False
                self._left -= 1
            self.asked.append(path)
            return True


@contextmanager
def slow_site(folder: Path, answers: int) -> Iterator[SlowSite]:
    """Serve a folder; all but the first `answers` chunks wait for `release`."""
    site = SlowSite(folder, answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            file = folder / self.path.lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            if not site.may_answer(self.path):
                return
            body = file.read_bytes()
            try:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client was ended

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield site
        finally:
            site.release()
            server.shutdown()
            thread.join()
