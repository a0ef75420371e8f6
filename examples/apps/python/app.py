"""An app in Python: answers with its name and its process, and ends well when asked to (SIGTERM)."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

stopping = threading.Event()
# Held while a request is answered: whoever waits for `quiet` waits for all of them.
busy, quiet = [0], threading.Condition()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together.
    wbufsize = -1

    def do_GET(self):
        with quiet:
            busy[0] += 1
        try:
            self.answer()
        finally:
            with quiet:
                busy[0] -= 1
                quiet.notify_all()

    def answer(self):
        if self.path.startswith("/slow"):
            time.sleep(0.3)
        text = f"python {os.environ.get('MADANG_INSTANCE', '?')} {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(text)))
        if stopping.is_set():
            # Said, so that nobody sends another request into a connection that is about to go.
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    def log_message(self, form, *values):
        if self.path != "/healthz":
            print(form % values, flush=True)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def stop(*_):
    stopping.set()
    threading.Thread(target=server.shutdown).start()


server = Server(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Handler)
signal.signal(signal.SIGTERM, stop)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever(poll_interval=0.05)
with quiet:
    quiet.wait_for(lambda: busy[0] == 0)
print("goodbye", flush=True)
sys.exit(0)
