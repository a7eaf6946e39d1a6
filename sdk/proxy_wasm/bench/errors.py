"""What can go wrong with a benchmark.

BenchError
└── ReportError      a saved run cannot be read, or cannot be compared with
"""


class BenchError(Exception):
    """There is nothing to measure, or the filter did not do what was to be measured; the text is for the user."""


class ReportError(BenchError):
    """A saved run cannot be used."""
