"""A small server of limited capacity: one request at a time, 20 ms each. Usage: server.py PORT NAME"""

import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    # One thread serves one connection at a time: a kept connection would shut the others out.
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if self.path != "/healthz":
            time.sleep(0.02)
        body = f"{NAME} answers {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


NAME = sys.argv[2]
HTTPServer.request_queue_size = 128
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
