"""Tests without code: files of cases, run on the hosts that tests written in Python run on; docs/yaml-tests.md is the manual.

`load` reads a file, `run_case` runs one of its cases on a host, `lines_of` tells why it failed. All of it needs PyYAML, of the extra `test`.
"""

from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.files import SUFFIX, filter_of, find, hosts_of
from proxy_wasm.testing.cases.format import load, schema
from proxy_wasm.testing.cases.model import Case, CaseFile
from proxy_wasm.testing.cases.report import lines_of
from proxy_wasm.testing.cases.runner import Failure, Result, run_case

__all__ = [
    "SUFFIX",
    "Case",
    "CaseFile",
    "CasesError",
    "Failure",
    "Result",
    "filter_of",
    "find",
    "hosts_of",
    "lines_of",
    "load",
    "run_case",
    "schema",
]
