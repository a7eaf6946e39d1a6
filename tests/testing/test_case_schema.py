"""The JSON schema of files of cases agrees with what is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy_wasm.testing.cases.files import SUFFIX
from proxy_wasm.testing.cases.format import load, schema

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "proxy-wasm-cases.schema.json"
FILES = sorted(path for folder in ("examples", "extensions", "tests") for path in (ROOT / folder).rglob(f"*{SUFFIX}"))
VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))


def is_valid(data: Any) -> bool:  # noqa: ANN401 - anything that YAML can say
    return VALIDATOR.is_valid(data)  # pyright: ignore[reportUnknownMemberType] - its stubs are incomplete


def test_the_schema_in_the_docs_is_current() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == schema(), "run scripts/cases_schema.py"


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_file_of_this_repository_fits_the_schema(file: Path) -> None:
    load(file)
    assert is_valid(yaml.safe_load(file.read_text("utf-8")))


@pytest.mark.parametrize(
    "case",
    [
        {"name": "a", "reqest": "GET /"},
        {"request": "GET /"},
        {"name": "a", "request": {"path": "/", "timeout": "soon"}},
        {"name": "a", "response": {"status": 99}},
        {"name": "a", "response": {"body": {"like": "a"}}},
        {"name": "a", "hosts": ["nginx"]},
        {"name": "a", "clusters": {"b": "dead"}},
        {"name": "a", "steps": [{"sent": "a"}]},
        {"name": "a", "steps": [{"advance": 1, "seconds": 2}]},
        {"name": "a", "logs": {"never": ["a"]}},
        {"name": "a", "metrics": {"b": -1}},
    ],
    ids=str,
)
def test_what_cannot_be_read_does_not_fit_the_schema(case: object) -> None:
    assert is_valid({"cases": [{"name": "a", "refused": True}]})
    assert not is_valid({"cases": [case]})


def test_the_columns_of_tables_fit_anywhere() -> None:
    assert is_valid(
        {
            "cases": [
                {
                    "name": "${a}",
                    "table": [{"a": 1}],
                    "request": {"headers": {"x": "${a}"}, "timeout": "${a}"},
                    "response": {"status": "${a}", "headers": "${a}"},
                    "upstream": "${a}",
                }
            ]
        }
    )
