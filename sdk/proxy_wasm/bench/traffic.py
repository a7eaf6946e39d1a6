"""What is sent while a filter is measured: a request as browsers send it, or the cases of a YAML file without what they expect."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from proxy_wasm.bench.errors import BenchError
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.testing.cases.model import (
    Answer,
    Case,
    CaseFile,
    Check,
    ClosedStep,
    ConnectStep,
    PluginPart,
    Request,
    RequestStep,
    Step,
)

DEFAULT_CASE = "plain request"
_REQUEST = Request(
    "GET",
    "/catalog/items?category=books&page=2",
    "shop.example.com",
    HeaderMap(
        {
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "accept-language": "en-US,en;q=0.5",
            "accept-encoding": "gzip, deflate, br, zstd",
            "referer": "https://shop.example.com/catalog",
            "cookie": "session=3f1b7c52d2a84f0bb0a1c55c9e8a4d7e; theme=dark; consent=necessary",
            "dnt": "1",
            "x-request-id": "6e1f2e74-7f6b-4a53-9d35-2f7a4d8f1c90",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-proto": "https",
            "if-none-match": '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
            "cache-control": "no-cache",
        }
    ),
)
_ANSWER = Answer(
    200,
    HeaderMap(
        {
            "content-type": "text/html; charset=utf-8",
            "cache-control": "private, max-age=60",
            "etag": '"9b2cf535f27731c974343645a3985328"',
            "vary": "accept-encoding, cookie",
            "x-content-type-options": "nosniff",
        }
    ),
    b"<!doctype html><title>Books</title>" + b"<p>An item of the catalog.</p>" * 32,
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What to send: one or more cases, measured apart from each other."""

    title: str
    cases: tuple[Case, ...]
    skipped: tuple[str, ...] = ()
    """Why other cases of the file are not among them."""


def default_traffic(plugin: PluginPart) -> Traffic:
    """One request with twelve headers and its response, of a plugin with these settings."""
    step = RequestStep(_REQUEST, upstream_answer=_ANSWER)
    case = Case(DEFAULT_CASE, Path(), 0, plugin, steps=(step,))
    return Traffic("GET with 12 headers, answered with 1 kB", (case,))


def traffic_of(file: CaseFile, plugin: PluginPart) -> Traffic:
    """The cases of a file as traffic; `plugin` is for what they do not say of theirs. Raises `BenchError` where none brings any."""
    cases: list[Case] = []
    skipped: list[str] = []
    names: set[str] = set()
    for case in file.cases:
        if problem := _unfit(case, names):
            skipped.append(f"left out: {case.name}: {problem}")
            continue
        names.add(case.name)
        cases.append(replace(case, plugin=case.plugin.over(plugin), steps=tuple(_traffic_steps(case.steps))))
    if not cases:
        why = "".join(f"\n{line}" for line in skipped)
        raise BenchError(f"{file.path}: none of its cases brings traffic that can be measured:{why}")
    return Traffic(file.path.name, tuple(cases), tuple(skipped))


def _unfit(case: Case, names: set[str]) -> str:
    """Why a case cannot be measured."""
    if case.refused:
        return "its plugin refuses to start"
    if not any(isinstance(step, RequestStep | ConnectStep) for step in case.steps):
        return "sends nothing"
    if case.name in names:
        return "another case has the same name"
    return ""


def _traffic_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps without what they expect: repeated, they may come to other results."""
    for step in steps:
        if isinstance(step, RequestStep):
            # A client that gets no response is what its case waits for.
            response = "none" if step.response == "none" else None
            yield replace(step, response=response, upstream=None, details=None, logs=None)
        elif not isinstance(step, Check | ClosedStep):
            yield step
