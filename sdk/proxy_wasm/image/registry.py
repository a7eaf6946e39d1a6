"""One repository of a registry: manifests and blobs by their digests, over HTTP.

The transport is oras-py's: its sessions, its uploads, its token requests. What this module adds is what a command has to be sure
of: bytes are what their digests say; nothing waits for ever; what is worth another try is tried again, and nothing else; plain
HTTP happens only where it was asked for, redirects and token servers included; and every failure is one line.

Protocol: OCI distribution specification 1.1; tokens: the registry's "Token Authentication Specification".
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import IncompleteRead
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from proxy_wasm.image.credentials import Credentials
from proxy_wasm.image.errors import (
    AccessError,
    DigestError,
    FormatError,
    MissingExtraError,
    NotFoundError,
    RegistryError,
)
from proxy_wasm.image.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from proxy_wasm.image.reference import Reference, digest_of

try:
    import requests
    from oras import provider
    from oras.auth import utils as auth
    from oras.container import Container
    from requests.adapters import HTTPAdapter
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"images need the Python package {error.name}; install it with: pip install 'proxy-wasm[image]'"
    ) from error

_ACCEPT = f"{OCI_MANIFEST}, {DOCKER_MANIFEST}, {OCI_INDEX}, {DOCKER_LIST}"
_TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and to wait for the next bytes."""
_MOST_MANIFEST_BYTES = 4 << 20
"""What registries have to accept at least, and what manifests stay far below."""
_CHUNK = 1 << 16
_LONGEST_WAIT = 30.0
_TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often something is tried again that failed for a reason that may pass."""

    count: int = 3
    first_wait: float = 0.5
    """Seconds; each further wait is twice as long."""


class _AnsweredError(Exception):
    """The registry answered with an error."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.retry_after = response.headers.get("Retry-After", "")
        self.reason = f"{response.status_code} {response.reason}{_explained(response)}"
        super().__init__(self.reason)


class _RefusedError(Exception):
    """There is no way to satisfy the registry about who we are."""


class _Adapter(HTTPAdapter):
    """Waits for no answer longer than `_TIMEOUT`."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - passed on
        options["timeout"] = options.get("timeout") or _TIMEOUT
        return super().send(request, *args, **options)


class _Client(provider.Registry):
    """oras-py's client with our rules for requests; its own would try everything again for two minutes, and wait for ever."""

    def __init__(self, host: str, credentials: Credentials | None, *, plain_http: bool) -> None:
        super().__init__(host, insecure=plain_http)
        self._credentials = credentials
        self._authorization: dict[str, str] = {}
        if credentials is not None and credentials.username:
            self.auth.set_basic_auth(credentials.username, credentials.password)
        # Without an authentication of its own a session looks for one in ~/.netrc.
        self.session.auth = _unchanged
        self.session.headers["User-Agent"] = f"proxy-wasm/{version('proxy-wasm')}"
        self.session.headers["Accept-Encoding"] = "identity"  # digests are of what is stored
        self.session.mount("https://", _Adapter())
        if plain_http:
            self.session.mount("http://", _Adapter())
        else:
            del self.session.adapters["http://"]

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """What oras-py does all its requests with; an error status raises, but for a HEAD that finds nothing."""

        def send() -> requests.Response:
            wanted = (headers or {}) | self._authorization
            return self.session.request(method, url, data=data, headers=wanted, stream=stream)

        response = send()
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._authorize(response)
            response = send()
        if response.status_code == HTTPStatus.NOT_FOUND and method == "HEAD":
            return response
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise _AnsweredError(response)
        return response

    def _authorize(self, response: requests.Response) -> None:
        """Find what the registry asks for with a 401: a user's name and password, or a token."""
        challenge = response.headers.get("WWW-Authenticate", "")
        scheme = challenge.partition(" ")[0].lower()
        known = self._credentials
        if scheme == "basic":
            if known is None or not known.username:
                raise _RefusedError("it asks for credentials, and Docker's configuration has none for it")
            self._authorization = {"Authorization": f"Basic {auth.get_basic_auth(known.username, known.password)}"}
        elif scheme == "bearer":
            self._authorization = {"Authorization": f"Bearer {self._token(auth.parse_auth_header(challenge))}"}
        else:
            raise _AnsweredError(response)

    def _token(self, challenge: auth.authHeader) -> str:
        known = self._credentials
        if not challenge.realm:
            raise _RefusedError("it asks for a token and names no server for it")
        if known is None:
            token = self.auth.request_anonymous_token(challenge)
        elif known.identity_token:
            token = self._exchanged(challenge, known.identity_token)
        else:
            token = self.auth.request_token(challenge)
        if not token:
            server = urlsplit(challenge.realm).hostname
            without = "without credentials" if known is None else "for these credentials"
            raise _RefusedError(f"the token server {server} gives no token {without}")
        return token

    def _exchanged(self, challenge: auth.authHeader, identity_token: str) -> str | None:
        form = {"grant_type": "refresh_token", "refresh_token": identity_token, "client_id": "proxy-wasm"}
        form |= {"service": challenge.service or "", "scope": challenge.scope or ""}
        response = self.session.post(challenge.realm or "", data=form)
        if response.status_code != HTTPStatus.OK:
            return None
        found = response.json()
        return found.get("access_token") or found.get("token")


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Repository:
    """The repository that `reference` names; every error names the reference.

    `credentials` are those for its registry; `plain_http` says that it has no TLS.
    """

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials | None = None,
        *,
        plain_http: bool = False,
        retries: Retries | None = None,
    ) -> None:
        self.reference = reference
        self._retries = retries or Retries()
        self._client = _Client(reference.api_host, credentials, plain_http=plain_http)
        self._container = Container(reference.repository.rpartition("/")[2])
        self._container.registry = reference.api_host
        self._container.namespace = reference.repository.rpartition("/")[0] or None
        self._container.repository = reference.repository.rpartition("/")[2]

    def manifest(self, identifier: str) -> Manifest:
        """The manifest or index that a tag or digest names, checked against the digest.

        Raises `NotFoundError`, `DigestError` and `FormatError`; as every method here `RegistryError`, and `AccessError`.
        """

        def read() -> tuple[bytes, str, str]:
            response = self._client.do_request(self._url(identifier), headers={"Accept": _ACCEPT}, stream=True)
            with response:
                data = _body(response, _MOST_MANIFEST_BYTES)
            if data is None:
                raise FormatError(f"{self.reference}: manifest: is larger than {_MOST_MANIFEST_BYTES} bytes")
            return data, response.headers.get("Content-Type", ""), response.headers.get("Docker-Content-Digest", "")

        data, content_type, claimed = self._tried(read)
        expected = identifier if identifier.startswith("sha256:") else claimed
        if expected.startswith("sha256:") and digest_of(data) != expected:
            raise DigestError(f"{self.reference}: the registry sent a manifest that is not {expected}")
        try:
            return Manifest.parse(data, content_type)
        except FormatError as error:
            raise FormatError(f"{self.reference}: {error}") from error

    def digest(self, tag: str) -> str | None:
        """What the tag names now; `None` where there is no such tag."""

        def read() -> str | None:
            response = self._client.do_request(self._url(tag), "HEAD", headers={"Accept": _ACCEPT})
            if response.status_code == HTTPStatus.NOT_FOUND:
                return None
            return response.headers.get("Docker-Content-Digest", "")

        found = self._tried(read)
        return self.manifest(tag).digest if found == "" else found  # not every registry says it

    def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes that `descriptor` names, checked. Raises `NotFoundError` and `DigestError`."""

        def read() -> bytes:
            with self._client.get_blob(self._container, descriptor.digest, stream=True) as response:
                data = _body(response, descriptor.size)
            if data is not None and len(data) < descriptor.size:
                raise IncompleteRead(data, descriptor.size - len(data))
            if data is None or digest_of(data) != descriptor.digest:
                raise DigestError(f"{self.reference}: the registry sent bytes that are not {descriptor.digest}")
            return data

        return self._tried(read)

    def upload(self, data: bytes) -> None:
        """Make sure that the repository has `data`."""
        layer: dict[str, str | int] = {"digest": digest_of(data), "size": len(data)}
        with tempfile.TemporaryDirectory(prefix="proxy-wasm-") as folder:
            file = Path(folder) / "blob"
            file.write_bytes(data)
            self._tried(lambda: self._client.upload_blob(str(file), self._container, layer))

    def put_manifest(self, identifier: str, media_type: str, data: bytes) -> bool:
        """Make `data` the manifest that `identifier` names; whether the registry took note of the manifest's subject."""

        def write() -> bool:
            headers = {"Content-Type": media_type}
            response = self._client.do_request(self._url(identifier), "PUT", data=data, headers=headers)
            return "OCI-Subject" in response.headers

        return self._tried(write)

    def referrers(self, digest: str) -> Manifest | None:
        """The index of what refers to the manifest `digest`, where the registry has the API for it and else by its tag."""
        try:
            data = self._tried(lambda: self._client.do_request(self._url(digest, "referrers")).content)
            return Manifest.parse(data, OCI_INDEX)
        except (NotFoundError, FormatError):
            return self.referrers_by_tag(digest)

    def referrers_by_tag(self, digest: str) -> Manifest | None:
        """The index under the tag that the specification gives to it where the registry has no API for referrers."""
        try:
            return self.manifest(referrers_tag(digest))
        except NotFoundError:
            return None

    def _url(self, identifier: str, kind: str = "manifests") -> str:
        return f"{self._client.prefix}://{self.reference.api_host}/v2/{self.reference.repository}/{kind}/{identifier}"

    def _tried(self, operation: Callable[[], _T]) -> _T:
        """What `operation` returns; tried again after failures that may pass."""
        wait = self._retries.first_wait
        for left in range(self._retries.count, -1, -1):
            try:
                return operation()
            except _AnsweredError as error:
                if not left or error.status not in _TRANSIENT:
                    raise self._answered(error) from error
                time.sleep(min(_asked_wait(error.retry_after) or wait, _LONGEST_WAIT))
            except requests.exceptions.SSLError as error:
                raise self._unreachable(error) from error
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
                IncompleteRead,
            ) as error:
                if not left:
                    raise self._unreachable(error) from error
                time.sleep(min(wait, _LONGEST_WAIT))
            except _RefusedError as error:
                raise AccessError(f"{self.reference}: access denied: {error}") from error
            except (requests.RequestException, ValueError) as error:
                raise self._unreachable(error) from error
            wait *= 2
        raise AssertionError

    def _answered(self, error: _AnsweredError) -> RegistryError:
        if error.status == HTTPStatus.NOT_FOUND:
            return NotFoundError(f"{self.reference}: the registry has no such image ({error.reason})")
        if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return AccessError(f"{self.reference}: access denied: {error.reason}")
        return RegistryError(f"{self.reference}: the registry answered {error.reason}")

    def _unreachable(self, error: Exception) -> RegistryError:
        return RegistryError(f"{self.reference}: {_reason(error)}")


def referrers_tag(digest: str) -> str:
    """The tag of the index of what refers to `digest` (distribution specification, "Referrers Tag Schema")."""
    return digest.replace(":", "-")


def _body(response: requests.Response, most: int) -> bytes | None:
    """The body; `None` where there are more than `most` bytes."""
    found = bytearray()
    for chunk in response.iter_content(_CHUNK):
        found += chunk
        if len(found) > most:
            return None
    return bytes(found)


def _explained(response: requests.Response) -> str:
    """What an error's body says in the form that registries use; control characters are not passed on."""
    try:
        errors = cast("dict[str, list[dict[str, Any]]]", json.loads(response.content[:_CHUNK]))["errors"]
        text = "; ".join(str(entry["message"]) for entry in errors if entry.get("message"))
    except (ValueError, KeyError, TypeError, AttributeError, requests.RequestException):
        return ""
    text = "".join(character if character.isprintable() else " " for character in text)
    return f": {text}" if text else ""


def _asked_wait(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0.0


_TROUBLES: tuple[tuple[type[Exception], str], ...] = (
    (
        requests.exceptions.InvalidSchema,
        "the registry sends us on to a server without TLS; --plain-http allows that",
    ),
    (requests.Timeout, f"no answer from the registry within {_TIMEOUT[1]:.0f} s"),
    (requests.exceptions.ChunkedEncodingError, "the connection broke while the registry answered: {reason}"),
    (requests.exceptions.SSLError, "no TLS connection to the registry: {reason}{hint}"),
    (requests.ConnectionError, "the registry cannot be reached: {reason}"),
    (Exception, "the registry answered something else than a registry does: {reason}"),
)
"""What requests raises, in words; the first that fits."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


def _reason(error: Exception) -> str:
    """What is at the bottom of what requests and urllib3 wrap around it."""
    inner = _innermost(error)
    if isinstance(inner, IncompleteRead):
        # http.client has the bytes that came, urllib3 their number.
        partial: object = inner.partial
        came = partial if isinstance(partial, int) else len(inner.partial)
        return f"the connection broke after {came} of {came + (inner.expected or 0)} bytes"
    reason = inner.strerror if isinstance(inner, OSError) and inner.strerror else " ".join(str(inner).split())
    hint = "; is this a registry without TLS? then: --plain-http" if any(sign in reason for sign in _NO_TLS) else ""
    words = next(words for kind, words in _TROUBLES if isinstance(error, kind))
    return words.format(reason=reason, hint=hint)


def _innermost(error: BaseException) -> BaseException:
    deepest: BaseException = error
    seen: set[int] = set()
    while id(deepest) not in seen:
        seen.add(id(deepest))
        inner = [deepest.__cause__, deepest.__context__, getattr(deepest, "reason", None), *deepest.args]
        deepest = next((entry for entry in inner if isinstance(entry, BaseException)), deepest)
    return deepest
