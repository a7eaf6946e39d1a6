"""What is wrong with a file of cases."""


class CasesError(Exception):
    """A file of cases cannot be used; the text names the file, the line, the key, and what to write instead."""
