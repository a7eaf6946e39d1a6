"""Every code block of the documentation works.

- `python` blocks run: those of a page one after the other, in one namespace, in a folder of the page's own.
- `title="greeter/greeter.py"` after a block's language writes it to that file of the page's folder first. Titled Python is a
  file of a project, for commands and imports; it runs as such.
- `shell` and `console` blocks hold commands (in `console` after `$`, and what they print). Every program, option and make target
  must exist; commands that are quick and need nothing from outside run in the page's folder.
- `json`, `toml` and `yaml` blocks are parsed. `text` and `dockerfile` blocks are no code to us. Any other block fails.
"""

import io
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("**/*.md"),
        *ROOT.glob("extensions/*/README.md"),
        *ROOT.glob("examples/README.md"),
        *ROOT.glob("benchmarks/README.md"),
    ],
)
NO_CODE = ("text", "dockerfile")
OUTSIDE = (
    "cd",
    "git",
    "pip",
    "source",
    "envoy",
    "docker",
    "kubectl",
    "curl",
    "export",
    "sudo",
    "python3",
    ".venv/bin/pip",
)
"""Programs whose commands are shown but not checked."""

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)\n(?P<code>.*?)^ *(?P=fence) *$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    language: str
    title: str | None
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for match in _FENCE.finditer(text):
        info = match["info"].strip()
        title = _TITLE.search(info)
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["code"].splitlines(keepends=True)]
        yield Block(
            page,
            text.count("\n", 0, match.start()) + 1,
            info.partition(" ")[0],
            title[1] if title else None,
            "".join(lines),
        )


BLOCKS = {page: tuple(blocks_of(page)) for page in PAGES}
ALL = [block for blocks in BLOCKS.values() for block in blocks]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, the current one, whose modules can be imported; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    # Not with another `sys.modules` meanwhile: modules written in C look into the one that the interpreter began with.
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def project(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The folder with the page's titled blocks in it; for the page of an extension or the examples, with their own files."""
    page: Path = request.node.callspec.params["page"]
    if page.parent.parent.name == "extensions" or page.parent.name == "examples":
        for file in page.parent.iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
    for block in BLOCKS[page]:
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, "utf-8")
    return folder


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_block_names_a_language_that_is_checked(block: Block) -> None:
    assert block.language in (*PARSERS, *NO_CODE, "python", "shell", "console"), f"{block}: {block.language!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_blocks_of_a_page_run(page: Path, project: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__documentation__", "__file__": str(project / "page.py")}
    for block in BLOCKS[page]:
        if block.language != "python":
            continue
        if block.title:
            run_file(project / block.title)
        else:
            code = compile("\n" * block.line + block.code, str(block.page), "exec")
            with redirect_stdout(io.StringIO()):
                exec(code, namespace)  # noqa: S102 - the documentation's own code


def run_file(path: Path) -> None:
    sys.path.insert(0, str(path.parent))
    try:
        runpy.run_path(str(path))
    finally:
        sys.path.remove(str(path.parent))


PARSERS: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda code: list(yaml.safe_load_all(code)),
}


@pytest.mark.parametrize("block", [block for block in ALL if block.language in PARSERS], ids=str)
def test_data_blocks_parse(block: Block) -> None:
    PARSERS[block.language](block.code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist_and_quick_ones_work(page: Path, project: Path) -> None:
    for block in BLOCKS[page]:
        if block.language in ("shell", "console"):
            for command in commands_of(block):
                check(command, project)


@dataclass(frozen=True, slots=True)
class Command:
    place: str
    words: tuple[str, ...]
    output: str | None
    """What a `console` block shows that it prints."""

    def __str__(self) -> str:
        return f"{self.place}: {shlex.join(self.words)}"


def commands_of(block: Block) -> Iterator[Command]:
    lines = block.code.replace("\\\n", " ").splitlines()
    transcript = [(line, None) for line in lines] if block.language == "shell" else list(entries_of(lines))
    for line, output in transcript:
        for part in re.split(r"\s(?:&&|\|)\s", line):
            words = shlex.split(part, comments=True)
            while words and re.match(r"\w+=", words[0]):
                del words[0]
            if words:
                yield Command(str(block), tuple(words), output)


def entries_of(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The commands of a transcript and what each prints."""
    for entry in re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)[1:]:
        command, _, output = entry.partition("\n")
        yield command, output.strip()


def check(command: Command, project: Path) -> None:
    program, *arguments = command.words
    if program == "make":
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), str(command)
    elif program == "proxy-wasm":
        check_cli(command, project)
    elif program == "pytest":
        if "--proxy-hosts" in arguments:
            run([sys.executable, "-m", "pytest", "-q", *arguments], command, project)
    elif program in ("python", "python3", ".venv/bin/python"):
        for script in (word for word in arguments if word.endswith(".py")):
            assert (ROOT / script).is_file() or (project / script).is_file(), str(command)
    elif (ROOT / program).is_file():
        assert (ROOT / program).stat().st_mode & 0o100, f"{command}: not executable"
    else:
        assert program in OUTSIDE, str(command)


def check_cli(command: Command, project: Path) -> None:
    arguments = command.words[1:]
    if arguments[:1] in (("request",), ("test",)) and "native" in arguments:
        printed = run([sys.executable, "-m", "proxy_wasm.cli", *arguments], command, project)
        assert command.output in (None, printed.strip()), str(command)
    else:
        depth = 2 if arguments[:1] == ("image",) else 1
        subcommand = [word for word in arguments[:depth] if not word.startswith("-")]
        usage = run([sys.executable, "-m", "proxy_wasm.cli", *subcommand, "--help"], command, project)
        for option in (word.partition("=")[0] for word in arguments if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", usage), f"{command}: {option}"


def run(words: list[str], command: Command, folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
