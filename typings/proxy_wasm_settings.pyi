# The module that a build generates from an extension's settings.

PLUGINS: dict[str, str]
SDK_VERSION: str
