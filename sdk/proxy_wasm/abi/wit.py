"""The WIT world of a guest, which componentize-py takes as the shape of the component.

It says next to nothing: the linker gives the finished module its edges (`proxy_wasm.build.linker.bridge`). componentize-py wants a world with an export.
"""

WORLD = "guest"
TEXT = f"package proxy-wasm:python;\n\nworld {WORLD} {{\n  export start: func();\n}}\n"


def kebab(name: str) -> str:
    """The WIT spelling of a name."""
    return name.replace("_", "-")
