"""In place of the standard library's `_colorize`, which brings `dataclasses` and `inspect` along: a proxy's log has no colours.

`traceback` and `argparse` ask for themes, whose sections have colours as attributes.
"""


class _NoColors:
    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return ""


class _NoTheme:
    def __getattr__(self, name: str) -> _NoColors:
        if name.startswith("__"):
            raise AttributeError(name)
        return NoColors


ANSIColors = NoColors = _NoColors()
default_theme = theme_no_color = _NoTheme()


def can_colorize(*, file: object = None) -> bool:
    del file
    return False


def decolor(text: str) -> str:
    return text


def get_colors(colorize: bool = False, *, file: object = None) -> _NoColors:
    del colorize, file
    return NoColors


def get_theme(*, tty_file: object = None, force_color: bool = False, force_no_color: bool = False) -> _NoTheme:
    del tty_file, force_color, force_no_color
    return theme_no_color


def set_theme(theme: object) -> None:
    del theme
