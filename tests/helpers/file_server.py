"""A file server on this machine that breaks off, forgets ranges and refuses, as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Behaviour:
    """What the server does with each request in turn; the last goes on for ever."""

    def __init__(self, *plan: object) -> None:
        self.plan = list(plan)
        self.asked: list[str | None] = []  # the Range header of every request

    def next(self) -> object:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


@contextmanager
def serving(*plan: object, content: bytes) -> Iterator[tuple[str, Behaviour]]:
    """A server in a thread; yields its address and its behaviour.

    Plan: ``whole``; ``("cut", n)``: the connection ends after n bytes; ``deaf``: ranges are not heard;
    an error code.
    """
    behaviour = Behaviour(*plan)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            behaviour.asked.append(asked)
            act = behaviour.next()
            if isinstance(act, int):
                return self.send_error(act)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and act != "deaf" else 0
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            rest = content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: act[1]] if isinstance(act, tuple) else rest)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/w.pth", behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
