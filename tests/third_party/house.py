"""The server that all suites ask: the real binary on settings, files and certificates made for this run.

Job: write everything into a folder that vanishes, start Madang, say where it listens. Used by `run`; suites get the `House`.
Calls `lab.server` for the process. Not here: what is asked.

The settings are the defaults wherever a default exists: what the suites judge is what an operator gets who sets nothing.
"""

import datetime
import gzip
import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.server import Server, free_port

# A page that compression makes smaller, a file for ranges, one with stored compressed forms, folders for listings.
PAGE = "<!doctype html>\n<html lang=\"en\"><head><title>Page</title></head><body>\n" + "".join(
    f"<p>Paragraph {number} of a page that compresses well.</p>\n" for number in range(200)) + "</body></html>\n"
RANGES = bytes((index * 7 + index // 251) % 256 for index in range(300_000))

SETTINGS = """
[server]
data = "data"
workers = 2

[site.main]
listen = ["http://127.0.0.1:{plain}", {{ address = "http://127.0.0.1:{prior}", h2c = true }}, "https://127.0.0.1:{secure}"]
tls    = {{ cert = "leaf.pem", key = "leaf.key" }}
route  = [
  {{ path = "/any", respond = "any method is answered\\n" }},
  {{ path = "/moved/*", redirect = "/{{rest}}", status = 301 }},
  {{ path = "/gone-to/*", redirect = "/{{rest}}" }},
  {{ path = "/limited", respond = "one an hour\\n", limit = "1/h burst 1 per ip" }},
  {{ path = "/private/*", files = "public", strip = "/private", auth = {{ users = {{ ana = "{hash}" }} }} }},
  {{ path = "/shared/*", files = "public", strip = "/shared", cors = {{ origins = "https://app.example.org" }},
    cache_control = "max-age=60" }},
  {{ path = "/small-body", respond = "taken\\n", body_max = "1KiB" }},
  {{ path = "/", method = "POST", respond = "posted\\n" }},
  {{ path = "/taken/*", files = "taken", strip = "/taken", upload = true, body_max = "8MiB" }},
  {{ path = "/*", files = "public", listing = true }},
]
"""


@dataclass
class House:
    """A running server and what is known of it. Ports: plain http, http that takes HTTP/2 by prior knowledge, https."""

    binary: str
    server: Server
    folder: Path
    plain: int
    prior: int
    secure: int

    @property
    def authority(self):
        """PEM file of the authority that signed the server's certificate."""
        return self.folder / "ca.pem"


def start(binary, folder):
    """Writes settings and files into `folder` and starts `binary` on them."""
    folder, ports = Path(folder), {name: free_port() for name in ("plain", "prior", "secure")}
    write_files(folder / "public")
    (folder / "taken").mkdir()
    write_certificates(folder)
    made = subprocess.run([binary, "hash"], input="secret", capture_output=True, text=True, timeout=30, check=True)
    (folder / "madang.toml").write_text(SETTINGS.format(**ports, hash=made.stdout.strip()))
    command = [str(Path(binary).resolve()), "run", "-c", str(folder / "madang.toml")]
    return House(binary, Server("madang", command, ports, folder), folder, **ports)


def write_files(public):
    """The files of the site."""
    (public / "listed" / "inner").mkdir(parents=True)
    (public / "listed" / "a.txt").write_text("alpha\n")
    (public / "listed" / "b & <c>.txt").write_text("a name that HTML must escape\n")
    (public / "index.html").write_text(PAGE)
    (public / "page.html").write_text(PAGE)
    (public / "ranges.bin").write_bytes(RANGES)
    (public / "stored.txt").write_text(PAGE)
    (public / "stored.txt.gz").write_bytes(gzip.compress(PAGE.encode(), mtime=0))


def write_certificates(folder):
    """An authority and a certificate for localhost in the way a public authority would write it (P-256, 90 days)."""
    today = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of one test run")])

    def builder(subject, public_key, days):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(authority_name).public_key(public_key)
                .serial_number(x509.random_serial_number()).not_valid_before(today - datetime.timedelta(hours=1))
                .not_valid_after(today + datetime.timedelta(days=days))
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False))

    def usage(**set_ones):
        names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
        return x509.KeyUsage(**{name: set_ones.get(name, False) for name in names})

    authority = (builder(authority_name, authority_key.public_key(), 365)
                 .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                 .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
                 .sign(authority_key, hashes.SHA256()))
    # Nobody fetches this list: scanners only look whether the certificate names one.
    revocations = x509.DistributionPoint([x509.UniformResourceIdentifier("http://127.0.0.1/revoked.crl")], None, None, None)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key(), 90)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.CRLDistributionPoints([revocations]), critical=False)
            .sign(authority_key, hashes.SHA256()))
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "leaf.key").write_bytes(key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
