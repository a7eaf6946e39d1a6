"""Files that appear whole or not at all."""

import os
import threading
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Make `path` hold `data`: whoever reads it meanwhile sees the old file or the new one.

    A file that holds `data` already is left as it is. Raises `OSError` with the name of `path`; what was there before is
    then still there, and nothing else.
    """
    with suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        aside.unlink(missing_ok=True)
