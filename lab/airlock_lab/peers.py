# SPDX-License-Identifier: Apache-2.0
"""What a guest's network card and console talk to: servers on this machine, each in a thread."""

import hashlib
import http.server
import socket
import threading


class FileServer:
    """Over HTTP on 127.0.0.1: GET gives `data`, POST answers with the SHA-256 of what came.

    A guest with QEMU's user network finds it at 10.0.2.2. Use as a context manager.
    """

    def __init__(self, data):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer(data)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(hashlib.sha256(body).hexdigest().encode() + b"\n")

            def _answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Echo:
    """On a UNIX socket: answers every line of its one client with that line, reversed.

    Use as a context manager; the socket listens as soon as it is made.
    """

    def __init__(self, path):
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._peer = None
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self._peer, _ = self._listener.accept()
            with self._peer, self._peer.makefile("rwb") as stream:
                for line in stream:
                    stream.write(line.rstrip(b"\r\n")[::-1] + b"\n")
                    stream.flush()
        except OSError:
            pass  # told to end, or the guest is gone

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        for end in (self._listener, self._peer):
            try:
                if end:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # nobody is there any more
        self._thread.join()
        self._listener.close()
