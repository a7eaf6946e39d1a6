"""Manifests as YAML. Needs PyYAML, of the extra `deploy`."""

import re
from typing import Any

import yaml

_NUMBERLIKE = re.compile(r"[-+.0-9~]")


class _Dumper(yaml.SafeDumper):
    """Writes what every reader takes for the same.

    PyYAML quotes what it would itself read as something else than text (YAML 1.1). Envoy and Kubernetes read `1e3` and `0o7` as numbers, too.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - PyYAML's signature
        return True


def _text(_: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else '"' if _NUMBERLIKE.match(value) else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(document: dict[str, Any]) -> str:
    """One document, its names in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
