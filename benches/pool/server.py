"""A server of limited capacity that writes down what it has read: one request at a time, 20 ms each.

Usage: server.py PORT NAME RECEIVED. The path of every POST is appended to the file RECEIVED once its body was read, before the work
begins, so that it stands there even when the server is killed in the middle. Started by `three.py`.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT, NAME, RECEIVED = sys.argv[1:]
SERVICE_S = 0.02


class Handler(BaseHTTPRequestHandler):
    # One thread serves one connection at a time: a kept connection would shut the others out.
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if self.path != "/healthz":
            time.sleep(SERVICE_S)
        body = f"{NAME} answers {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        os.write(received, f"{self.path}\n".encode())
        self.do_GET()

    def log_message(self, *_):
        pass


received = os.open(RECEIVED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
HTTPServer.request_queue_size = 128
HTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
