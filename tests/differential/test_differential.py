"""The emulator does what Envoy does, whatever a filter does: generated scripts of hostcalls and generated traffic, on all hosts.

`scripts/differential.py` runs more of the same. What it finds, made small, becomes a line of `found.txt`.
"""

from pathlib import Path

import pytest
from scripted.comparison import from_text
from scripted.hunt import Hunt

CASES = 250
SEED = 20
FOUND = [
    line for line in Path(__file__).with_name("found.txt").read_text().splitlines() if line and not line.startswith("#")
]


@pytest.mark.parametrize("text", FOUND, ids=map(str, range(len(FOUND))))
def test_what_once_differed_is_the_same_on_all_hosts(hunt: Hunt, text: str) -> None:
    hunt.check(from_text(text))


def test_generated_cases_are_the_same_on_all_hosts(hunt: Hunt) -> None:
    hunt.run(CASES, SEED)
    assert not hunt.differences, "\n\n".join(hunt.differences)
