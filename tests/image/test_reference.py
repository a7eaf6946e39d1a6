"""Names of images."""

import pytest

from proxy_wasm.image import BadReferenceError, Reference

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("oci://ghcr.io/acme/greeter:1.0", "ghcr.io", "acme/greeter", "1.0", None),
        ("oci://127.0.0.1:5000/greeter", "127.0.0.1:5000", "greeter", None, None),
        ("oci://[::1]:5000/a/b_c/d--e:v1", "[::1]:5000", "a/b_c/d--e", "v1", None),
        (f"oci://localhost/greeter@{DIGEST}", "localhost", "greeter", None, DIGEST),
        (f"oci://ghcr.io/my.org/greeter:1@{DIGEST}", "ghcr.io", "my.org/greeter", "1", DIGEST),
    ],
)
def test_a_reference_has_registry_name_tag_and_digest(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository) == (registry, repository)
    assert (reference.tag, reference.digest) == (tag, digest)
    assert str(reference) == text


def test_a_digest_decides_before_a_tag_and_latest_is_asked_for_without_both() -> None:
    assert Reference.parse(f"oci://ghcr.io/greeter:1@{DIGEST}").identifier == DIGEST
    assert Reference.parse("oci://ghcr.io/greeter:1").identifier == "1"
    assert Reference.parse("oci://ghcr.io/greeter").identifier == "latest"


def test_names_of_docker_hub_are_those_that_docker_knows() -> None:
    reference = Reference.parse("oci://index.docker.io/greeter:1")
    assert (reference.registry, reference.repository) == ("docker.io", "library/greeter")
    assert reference.api_host == "registry-1.docker.io"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ghcr.io/acme/greeter:1", "does not begin with oci://"),
        ("oci://greeter", "registry and name must be given"),
        ("oci:///greeter", "registry and name must be given"),
        ("oci://ghcr.io/Greeter:1", "lower-case"),
        ("oci://ghcr.io/greeter:a b", "a tag is of at most 128"),
        ("oci://ghcr.io/greeter@sha256:12", "a digest is sha256: and 64"),
        ("oci://user:password@ghcr.io/greeter", "a digest is sha256: and 64"),
        ("oci://ghcr.io/a//b:1", "names are of"),
        ("oci://ghcr.io/a/../b:1", "names are of"),
    ],
)
def test_what_names_no_image_is_told_with_the_form_that_does(text: str, problem: str) -> None:
    with pytest.raises(BadReferenceError, match=f"{problem}.*; the form is oci://REGISTRY/NAME:TAG"):
        Reference.parse(text)
