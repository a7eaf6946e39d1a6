"""A token server as registries have them: users, passwords and identity tokens in, signed tokens out.

The registry's "Token Authentication Specification", and its OAuth2 form for identity tokens.
"""

import base64
import json
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

_ISSUER, _SERVICE = "token-server", "test-registry"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Gives `user` all access, and everybody else the right to pull; a context manager."""

    def __init__(self, folder: Path, user: str, password: str, identity_token: str) -> None:
        self._users = {base64.b64encode(f"{user}:{password}".encode()).decode()}
        self._identity_token = identity_token
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _signed(self._key, "127.0.0.1")
        self._bundle = folder / "token-server.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.asked = 0
        """How many requests came."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
                known = scheme == "Basic" and encoded in server._users
                self.answer(query, actions=["pull", "push"] if known else ["pull"], refuse=bool(scheme) and not known)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                known = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == [server._identity_token]
                self.answer(form, actions=["pull", "push"], refuse=not known)

            def answer(self, asked: dict[str, list[str]], actions: list[str], *, refuse: bool) -> None:
                server.asked += 1
                body = b"" if refuse else json.dumps({"token": server._token(asked.get("scope", []), actions)}).encode()
                self.send_response(401 if refuse else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def settings(self) -> dict[str, Any]:
        """What a registry needs in its configuration to send its clients here."""
        realm = f"http://127.0.0.1:{self._http.server_address[1]}/token"
        token = {"realm": realm, "service": _SERVICE, "issuer": _ISSUER, "rootcertbundle": str(self._bundle)}
        return {"auth": {"token": token}}

    def _token(self, scopes: list[str], actions: list[str]) -> str:
        access = [
            {"type": kind, "name": name, "actions": [action for action in wanted.split(",") if action in actions]}
            for kind, name, wanted in (scope.split(":") for scope in scopes)
        ]
        chain = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        now = int(time.time())
        claims = {"iss": _ISSUER, "aud": _SERVICE, "sub": "", "nbf": now - 10, "iat": now, "exp": now + 300}
        claims |= {"jti": secrets.token_hex(8), "access": access}
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_base64url(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def self_signed(folder: Path, address: str) -> tuple[Path, Path]:
    """The files of a certificate for the IP address `address` and of its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate, file = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(_signed(key, address).public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return certificate, file


def _signed(key: rsa.RSAPrivateKey, address: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ISSUER)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
