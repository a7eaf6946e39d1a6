"""pip, run as a program, with the environment markers of the Python inside Wasm.

pip's option `--python-version` chooses among wheels, but markers (`; python_version < "3.13"`, `; sys_platform == "win32"`) are
still judged by the Python that runs pip. Here they are judged by the one that will run the packages.
"""

import sys
from collections.abc import Callable
from typing import cast

MARKERS = {
    "implementation_name": "cpython",
    "implementation_version": "3.14.0",
    "os_name": "posix",
    "platform_machine": "wasm32",
    "platform_python_implementation": "CPython",
    "platform_release": "0.0.0",
    "platform_system": "wasi",
    "platform_version": "0.0.0",
    "python_full_version": "3.14.0",
    "python_version": "3.14",
    "sys_platform": "wasi",
}
"""What PEP 508 markers find inside the module."""


def main() -> int:
    """Run pip with the arguments of the command line."""
    import pip._vendor.packaging.markers as markers  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0415, PLR0402
    from pip._internal.cli.main import main as pip  # noqa: PLC0415 - pip is a program first

    markers.default_environment = lambda: dict(MARKERS)  # type: ignore[assignment]
    return cast("Callable[[list[str]], int]", pip)(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
