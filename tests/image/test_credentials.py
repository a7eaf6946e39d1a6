"""Who we are to a registry: Docker's configuration, its helpers, and token servers."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_registry import DockerRegistry, docker_config
from token_server import TokenServer, self_signed

from proxy_wasm.cli import main
from proxy_wasm.image import (
    AccessError,
    Credentials,
    CredentialsError,
    NotFoundError,
    Reference,
    RegistryError,
    find_credentials,
    pull,
)
from proxy_wasm.image.pushing import PushOptions, push

USER, PASSWORD, IDENTITY = "alice", "s3cret", "identity-4711"
HTPASSWD = "alice:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"
"""The user with bcrypt of the password, the one hash that the registry takes."""
PLAIN = PushOptions(plain_http=True)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A registry that wants a user's name and password."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "htpasswd").write_text(HTPASSWD)
    settings = {"auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}}
    with DockerRegistry(folder, settings) as running:
        yield running


@pytest.fixture(scope="module")
def with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A registry that sends its clients to a token server, and lets everybody pull."""
    folder = tmp_path_factory.mktemp("tokens")
    with TokenServer(folder, USER, PASSWORD, IDENTITY) as server, DockerRegistry(folder, server.settings()) as running:
        yield running


def helper(folder: Path, name: str, script: str) -> None:
    """A credential helper: a program that gets a registry's name and prints JSON."""
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\nread -r registry\n{script}\n")
    file.chmod(0o755)


def configure(folder: Path, configuration: object) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(configuration))
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}


def test_credentials_of_dockers_configuration_open_a_registry(
    guarded: DockerRegistry, described_module: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path, guarded.host, USER, PASSWORD)))
    reference = push(described_module, Reference(guarded.host, "greeter", "1.0"), PLAIN).reference
    assert pull(reference, plain_http=True).module == described_module


@pytest.mark.parametrize("command", [["pull"], ["image", "inspect"], ["image", "sbom"]])
def test_wrong_credentials_are_one_line_without_them(
    command: list[str],
    guarded: DockerRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path, guarded.host, USER, "wr0ng")))
    name = f"oci://{guarded.host}/greeter:1.0"
    assert main([*command, name, "--plain-http"]) == 1
    error = capsys.readouterr().err
    assert error == f"error: {name}: access denied: 401 Unauthorized: authentication required\n"


def test_no_credentials_where_some_are_asked_for_is_told(guarded: DockerRegistry) -> None:
    reference = Reference(guarded.host, "greeter", "1.0")
    with pytest.raises(AccessError, match=f"{reference}: access denied: it asks for credentials, and Docker's config"):
        pull(reference, plain_http=True)


def test_credentials_can_be_given_in_place_of_dockers(guarded: DockerRegistry) -> None:
    with pytest.raises(NotFoundError):
        pull(Reference(guarded.host, "nothing", "1"), credentials=Credentials(USER, PASSWORD), plain_http=True)


def test_a_token_server_gives_access_to_users_and_everybody(
    with_tokens: DockerRegistry, described_module: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = Reference(with_tokens.host, "greeter", "1.0")
    with pytest.raises(AccessError, match=f"{reference}: access denied: 401 Unauthorized"):
        push(described_module, reference, PLAIN)
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path, with_tokens.host, USER, PASSWORD)))
    pushed = push(described_module, reference, PLAIN).reference
    monkeypatch.delenv("DOCKER_CONFIG")
    assert pull(pushed, credentials=Credentials(USER, PASSWORD), plain_http=True).module == described_module
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
    assert pull(pushed, plain_http=True).module == described_module


def test_a_token_server_refuses_wrong_credentials(with_tokens: DockerRegistry) -> None:
    reference = Reference(with_tokens.host, "greeter", "1.0")
    with pytest.raises(
        AccessError, match=r"access denied: the token server 127\.0\.0\.1 gives no token for these credentials"
    ):
        pull(reference, credentials=Credentials(USER, "wr0ng"), plain_http=True)


def test_a_registry_with_tls_cannot_make_us_send_a_password_without(
    tmp_path_factory: pytest.TempPathFactory, described_module: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = self_signed(folder, "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    http = {"addr": "127.0.0.1:0", "secret": "test", "tls": {"certificate": str(certificate), "key": str(key)}}
    known = Credentials(USER, PASSWORD)
    with (
        TokenServer(folder, USER, PASSWORD, IDENTITY) as server,
        DockerRegistry(folder, {"http": http} | server.settings()) as registry,
    ):
        reference = Reference(registry.host, "greeter", "1.0")
        with pytest.raises(
            RegistryError, match="the registry sends us on to a server without TLS; --plain-http allows"
        ):
            push(described_module, reference, PushOptions(credentials=known))
        assert server.asked == 0


def test_an_identity_token_is_exchanged(with_tokens: DockerRegistry, described_module: bytes, tmp_path: Path) -> None:
    environment = configure(tmp_path, {"auths": {with_tokens.host: {"identitytoken": IDENTITY}}})
    known = find_credentials(with_tokens.host, environment)
    options = PushOptions(credentials=known, plain_http=True)
    reference = push(described_module, Reference(with_tokens.host, "by-identity", "1.0"), options).reference
    assert pull(reference, credentials=known, plain_http=True).module == described_module
    with pytest.raises(AccessError, match="gives no token for these credentials"):
        pull(reference, credentials=Credentials(identity_token="another"), plain_http=True)


ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("registry", "auths"),
    [
        ("ghcr.io", {"ghcr.io": {"auth": ENCODED}}),
        ("ghcr.io", {"https://ghcr.io/v2/": {"auth": ENCODED}}),
        ("ghcr.io", {"other.io": {"auth": "AAAA"}, "ghcr.io": {"username": USER, "password": PASSWORD}}),
        ("127.0.0.1:5000", {"127.0.0.1:5000": {"auth": ENCODED}}),
        ("docker.io", {"https://index.docker.io/v1/": {"auth": ENCODED}}),
    ],
)
def test_a_registry_is_found_in_auths_as_docker_finds_it(registry: str, auths: object, tmp_path: Path) -> None:
    assert find_credentials(registry, configure(tmp_path, {"auths": auths})) == Credentials(USER, PASSWORD)


def test_a_registry_that_is_not_in_the_configuration_has_no_credentials(tmp_path: Path) -> None:
    environment = configure(tmp_path, {"auths": {"ghcr.io": {"auth": ENCODED}, "empty.io": {}}})
    assert find_credentials("ghcr.io.example.com", environment) is None
    assert find_credentials("empty.io", environment) is None
    assert find_credentials("ghcr.io", {"DOCKER_CONFIG": str(tmp_path / "none")}) is None


def test_helpers_are_asked_before_auths_and_those_of_a_registry_before_the_one_for_all(tmp_path: Path) -> None:
    helper(tmp_path, "all", """echo "{\\"Username\\": \\"$registry\\", \\"Secret\\": \\"all's\\"}\"""")
    helper(tmp_path, "own", """echo '{"Username": "<token>", "Secret": "own"}'""")
    helper(tmp_path, "empty", "echo 'credentials not found in native keychain'; exit 1")
    environment = configure(
        tmp_path,
        {
            "auths": {"ghcr.io": {"auth": ENCODED}},
            "credsStore": "all",
            "credHelpers": {"own.io": "own", "empty.io": "empty"},
        },
    )
    assert find_credentials("ghcr.io", environment) == Credentials("ghcr.io", "all's")
    assert find_credentials("docker.io", environment) == Credentials("https://index.docker.io/v1/", "all's")
    assert find_credentials("own.io", environment) == Credentials(identity_token="own")
    assert find_credentials("empty.io", environment) is None


@pytest.mark.parametrize(
    ("configuration", "problem"),
    [
        ([], "config.json: must be an object"),
        ({"auths": 3}, "config.json: auths: must be an object"),
        (
            {"auths": {"ghcr.io": {"auth": "s3cret!"}}},
            r'config.json: auths."ghcr.io".auth: is not base64 of user:password',
        ),
        (
            {"auths": {"ghcr.io": {"auth": "czNjcmV0"}}},
            r'config.json: auths."ghcr.io".auth: is not base64 of user:passw',
        ),
        ({"credsStore": "absent"}, "docker-credential-absent: Docker's configuration names it, and it is not in PATH"),
        ({"credsStore": "broken"}, "docker-credential-broken: ended with status 3 when asked for ghcr.io"),
        ({"credsStore": "silly"}, "docker-credential-silly: answered something else than credentials for ghcr.io"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_told_without_secrets(
    configuration: object, problem: str, tmp_path: Path
) -> None:
    helper(tmp_path, "broken", "echo s3cret >&2; exit 3")
    helper(tmp_path, "silly", "echo s3cret")
    with pytest.raises(CredentialsError, match=problem) as raised:
        find_credentials("ghcr.io", configure(tmp_path, configuration))
    assert "s3cret" not in str(raised.value)


def test_credentials_do_not_show_what_is_secret() -> None:
    assert "s3cret" not in repr(Credentials(USER, "s3cret", "s3cret"))
