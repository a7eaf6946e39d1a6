# The module that a build generates from an extension's settings.

COMPILER: bool
IMPORTS: tuple[str, ...]
LEFT_OUT: dict[str, str]
PLUGINS: dict[str, str]
SDK_VERSION: str
