"""Tests without code: files of cases, run on the hosts that tests written in Python run on; docs/yaml-tests.md is the manual.

`files` finds and loads them, `runner` runs a case on a host, `report` tells why it failed; `collection` is their part of the pytest
plugin. Only loading needs PyYAML, of the extra `test`.
"""
