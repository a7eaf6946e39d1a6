"""Pushing and pulling, in all forms, with skopeo as a second opinion."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from docker_registry import DockerRegistry, skopeo

from proxy_wasm.image import (
    BadReferenceError,
    DigestError,
    Form,
    FormatError,
    NotFoundError,
    Reference,
    TagTakenError,
    digest_of,
    pull,
)
from proxy_wasm.image.pushing import PushOptions, push

NewImage = Callable[[], Reference]
PLAIN = PushOptions(plain_http=True)


def plain(form: Form) -> PushOptions:
    return PushOptions(form=form, plain_http=True)


def at_skopeo(reference: Reference) -> str:
    """skopeo's name of the image: by its digest, if there is one; it takes no name with both."""
    return f"docker://{reference.name.removeprefix('oci://')}" + (
        f"@{reference.digest}" if reference.digest else f":{reference.tag}"
    )


@pytest.mark.parametrize("form", Form)
def test_what_was_pushed_is_pulled_by_tag_and_by_digest(
    form: Form, new_image: NewImage, described_module: bytes
) -> None:
    reference = new_image()
    pushed = push(described_module, reference, plain(form)).reference
    by_digest = Reference(reference.registry, reference.repository, digest=pushed.digest)
    for name in (reference, pushed, by_digest):
        pulled = pull(name, plain_http=True)
        assert pulled.module == described_module
        assert pulled.form is form
        assert pulled.digest == pushed.digest


@pytest.mark.parametrize("form", Form)
def test_skopeo_reads_and_copies_every_form_by_tag_and_by_digest(
    form: Form, new_image: NewImage, described_module: bytes, tmp_path: Path
) -> None:
    reference = new_image()
    pushed = push(described_module, reference, plain(form)).reference
    for number, name in enumerate((reference, pushed)):
        raw = skopeo("inspect", "--raw", "--tls-verify=false", at_skopeo(name))
        assert digest_of(raw.encode()) == pushed.digest
        copy = tmp_path / str(number)
        skopeo("copy", "--src-tls-verify=false", at_skopeo(name), f"oci:{copy}:copied")
        index = json.loads((copy / "index.json").read_text())
        assert index["manifests"][0]["digest"] == pushed.digest
        for layer in json.loads(raw)["layers"]:
            blob = copy / "blobs" / "sha256" / layer["digest"].removeprefix("sha256:")
            assert digest_of(blob.read_bytes()) == layer["digest"]


def test_skopeo_takes_the_compatible_form_for_a_container_image(new_image: NewImage, described_module: bytes) -> None:
    reference = new_image()
    push(described_module, reference, PLAIN)
    found = json.loads(skopeo("inspect", "--tls-verify=false", at_skopeo(reference)))
    assert (found["Os"], found["Architecture"]) == ("linux", "amd64")
    assert found["Labels"]["org.opencontainers.image.title"] == "greeter"


def test_an_image_says_what_its_module_tells_and_what_one_adds(new_image: NewImage, described_module: bytes) -> None:
    reference = new_image()
    further = {"org.opencontainers.image.revision": "c0ffee", "org.opencontainers.image.version": "1.0+local"}
    push(described_module, reference, PushOptions(annotations=further, plain_http=True))
    assert pull(reference, plain_http=True).annotations == {
        "module.wasm.image/variant": "compat",
        "org.opencontainers.image.title": "greeter",
        "org.opencontainers.image.description": "Greets",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.source": "https://code.example/greeter",
        "org.opencontainers.image.revision": "c0ffee",
        "org.opencontainers.image.version": "1.0+local",
        "proxy-wasm/abi-version": "0.2.1",
        "proxy-wasm/sdk-version": "1.2",
        "proxy-wasm/inputs-sha256": "ab" * 32,
        "proxy-wasm/module-sha256": digest_of(described_module).removeprefix("sha256:"),
    }


@pytest.mark.parametrize("form", Form)
def test_the_same_module_makes_the_same_digest_under_every_name(
    form: Form, new_image: NewImage, described_module: bytes
) -> None:
    first, second = (push(described_module, new_image(), plain(form)) for _ in range(2))
    assert first.reference.digest == second.reference.digest
    assert first.bom_digest == second.bom_digest


MINIMAL = bytes.fromhex("0061736d01000000010401600000030201000503010001072402") + (
    b"\x17proxy_abi_version_0_2_1\0\0\x06memory\x02\0\x0a\x04\x01\x02\0\x0b"
)
"""A module written by hand, so that no assembler's version can change it."""


@pytest.mark.parametrize(
    ("form", "digest"),
    [
        (Form.OCI, "sha256:e5c5788b58990469600ccefd6d7abdc8499167b2a599f2f84037ea50cb50b826"),
        (Form.CNCF, "sha256:707b43294558f94966f9b023a3f208b53a447870fc91198e472e991ac236e146"),
    ],
)
def test_the_digest_of_a_module_is_the_same_on_every_machine(form: Form, digest: str, new_image: NewImage) -> None:
    assert push(MINIMAL, new_image(), plain(form)).reference.digest == digest


def test_the_archive_of_the_compatible_form_is_the_same_on_every_machine(new_image: NewImage) -> None:
    reference = push(MINIMAL, new_image(), PLAIN).reference
    config = json.loads(skopeo("inspect", "--config", "--raw", "--tls-verify=false", at_skopeo(reference)))
    assert config["rootfs"]["diff_ids"] == ["sha256:9f69fdba1376cf5f5aa8039a07678c23b7a5c9b0ae071173429dae11a7cd2a56"]


def test_pushing_the_same_again_changes_nothing(
    registry: DockerRegistry, new_image: NewImage, described_module: bytes
) -> None:
    reference = new_image()
    first = push(described_module, reference, PLAIN)
    before = registry.files()
    again = push(described_module, reference, PLAIN)
    assert (first.unchanged, again.unchanged) == (False, True)
    assert again.reference == first.reference
    assert registry.files() == before


def test_a_tag_is_moved_only_where_that_is_asked_for(
    registry: DockerRegistry, new_image: NewImage, described_module: bytes
) -> None:
    reference = new_image()
    first = push(MINIMAL, reference, PLAIN).reference
    before = registry.files()
    with pytest.raises(
        TagTakenError, match=f"{reference}: the tag names another image already, {first.digest}; --replace-tag"
    ):
        push(described_module, reference, PLAIN)
    assert registry.files() == before
    moved = push(described_module, reference, PushOptions(replace_tag=True, plain_http=True))
    assert pull(reference, plain_http=True).digest == moved.reference.digest
    assert pull(first.at(first.digest or ""), plain_http=True).module == MINIMAL


def test_an_image_can_be_pushed_by_its_digest_alone(new_image: NewImage, described_module: bytes) -> None:
    tagged = push(described_module, new_image(), PLAIN).reference
    elsewhere = new_image()
    by_digest = Reference(elsewhere.registry, elsewhere.repository, digest=tagged.digest)
    assert push(described_module, by_digest, PLAIN).reference == by_digest
    assert pull(by_digest, plain_http=True).module == described_module
    with pytest.raises(NotFoundError):
        pull(elsewhere, plain_http=True)


@pytest.mark.parametrize(
    ("module", "name", "error", "message"),
    [
        (MINIMAL, "@sha256:" + "0" * 64, DigestError, "the image of this module is sha256:"),
        (MINIMAL, "", BadReferenceError, "a tag is needed to push to, such as .*:0.1.0"),
        (b"\0asm\1\0\0\0", ":1", FormatError, "no Proxy-Wasm module: it exports no proxy_abi_version_"),
        (b"#!/bin/sh", ":1", FormatError, "no core WebAssembly module: header, offset 0x0"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_sent(
    registry: DockerRegistry, new_image: NewImage, module: bytes, name: str, error: type[Exception], message: str
) -> None:
    reference = Reference.parse(f"{new_image().name}{name}")
    before = registry.files()
    with pytest.raises(error, match=f"{reference.name}.*: {message}"):
        push(module, reference, PLAIN)
    assert registry.files() == before
