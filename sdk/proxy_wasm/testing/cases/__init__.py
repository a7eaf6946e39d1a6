"""Tests without code: files of cases, run on the hosts that tests written in Python run on."""
