"""Real proxies between Madang and a recorder: nginx and HAProxy, each as willing to take odd requests as it can be set.

Job: write their settings, start them, and start Madang in front: one way straight to a recorder, one through nginx, one
through HAProxy, over HTTP/1.1 and over HTTP/2. Used by `differential_suite` and `downgrade_suite`.
Not here: what is asked and judged.
"""

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.server import Server, free_port
from recorder import Recorder

NGINX = """daemon off;
{user}pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  underscores_in_headers on;
  ignore_invalid_headers off;
  merge_slashes off;
  keepalive_timeout 60s;
  keepalive_requests 1000000;
  upstream recorder {{ server 127.0.0.1:{recorder}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://recorder;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }}
  }}
}}
"""
HAPROXY = """global
  maxconn 256
defaults
  mode http
  option accept-invalid-http-request
  option accept-invalid-http-response
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen all
  bind 127.0.0.1:{port}
  server recorder 127.0.0.1:{recorder}
"""
SETTINGS = """
[server]
data = "data"
workers = 1
"""
# A pool of one server: a way that a request cannot leave. `attempts = 1`: what is sent twice was sent twice by a fault.
WAY = """
[site.{name}]
listen = ["http://127.0.0.1:{plain}", {{ address = "http://127.0.0.1:{prior}", h2c = true }}]
route = [{{ proxy = "{name}" }}]
[pool.{name}]
servers = ["127.0.0.1:{server}"]
retry = {{ attempts = 1 }}
passive = {{ failures = 0, success_rate = 0 }}
"""


@dataclass
class Way:
    """From a port of Madang to a recorder."""

    name: str
    plain: int
    prior: int
    recorder: Recorder
    # The server as Madang calls it: the Host of a request that came without one.
    server: bytes


@contextmanager
def ways(binary, folder):
    """The three ways, running."""
    folder = Path(folder)
    folder.mkdir()
    names = ("straight", "nginx", "haproxy")
    recorders = {name: Recorder() for name in names}
    ports = {name: free_port() for name in ("nginx", "haproxy")}
    ports["straight"] = recorders["straight"].port
    made = [Way(name, free_port(), free_port(), recorders[name], b"127.0.0.1:%d" % ports[name]) for name in names]
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(port=ports["nginx"], recorder=recorders["nginx"].port, user=user))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=ports["haproxy"], recorder=recorders["haproxy"].port))
    settings = folder / "madang.toml"
    settings.write_text(SETTINGS + "".join(
        WAY.format(name=way.name, plain=way.plain, prior=way.prior, server=ports[way.name]) for way in made))
    nginx = ["/usr/sbin/nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    haproxy = ["/usr/sbin/haproxy", "-db", "-f", str(folder / "haproxy.cfg")]
    madang = [str(Path(binary).resolve()), "run", "-c", str(settings)]
    listening = {f"{way.name} {kind}": port for way in made for kind, port in (("plain", way.plain), ("prior", way.prior))}
    with recorders["straight"], recorders["nginx"], recorders["haproxy"], \
            Server("nginx", nginx, {"nginx": ports["nginx"]}, folder), \
            Server("haproxy", haproxy, {"haproxy": ports["haproxy"]}, folder), \
            Server("proxying", madang, listening, folder):
        for recorder in recorders.values():
            recorder.take()
        yield made


def versions():
    """`nginx 1.22.1 and HAProxy 2.6.12`."""
    nginx = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, timeout=10).stderr
    haproxy = subprocess.run(["/usr/sbin/haproxy", "-v"], capture_output=True, text=True, timeout=10).stdout
    return f"nginx {nginx.split('/')[1].split()[0]} and HAProxy {haproxy.split()[2].split('-')[0]}"
