"""The YAML on the page about tests without code is what is read."""

import re
from pathlib import Path

import pytest
import yaml

from proxy_wasm.testing.cases.files import load

PAGE = Path(__file__).parents[2] / "docs" / "yaml-tests.md"
BLOCKS = re.findall(r"^```yaml[^\n]*\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
CLUSTERS = "clusters: {users: {status: 200}}\n"


def as_file(block: str) -> str:
    """A block as a file: some are whole ones, some have no cases, some are a part of a case."""
    keys = set(yaml.safe_load(block))
    if "cases" in keys:
        return block
    if "clusters" in keys:
        return f"{block}\ncases: [{{name: a, refused: true}}]\n"
    case = "\n".join(f"    {line}" for line in block.splitlines())
    return f"{CLUSTERS}cases:\n  - name: a\n    request: GET /\n{case}\n"


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_can_be_read(block: str, tmp_path: Path) -> None:
    path = tmp_path / "a.proxy-wasm.yaml"
    path.write_text(as_file(block), "utf-8")
    assert load(path).cases
