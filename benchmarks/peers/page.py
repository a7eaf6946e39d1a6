"""The page of the documentation that shows a run: `docs/performance.md`."""

from collections.abc import Iterator

from benchmarks.peers.results import Results
from benchmarks.peers.table import Rows, tables
from benchmarks.peers.targets import judge

_HEAD = """\
# Performance

<!-- Written by `python -m benchmarks.peers --page`; changes made by hand are lost. -->

What filters in Python cost a real Envoy, beside what else does the same work: Envoy's Lua filter, a filter in Go (the official SDK), one in C (what is
possible at best), Envoy's own filter where there is one, and what Python is used for without this project, servers that Envoy asks: HTTP ext_authz with
aiohttp and uvloop, and ext_proc with grpc.aio. The sources are in
[benchmarks/peers](../benchmarks/peers/filters).
"""

_MEANING = """\
## What the figures mean

- Each peer has an Envoy of its own with one worker, and all pass requests with twelve headers on to one more, which answers at once.
- **CPU** is the CPU time of Envoy and of the server that it asks, together, for each request under full load; **added** is that less the CPU of the Envoy without a
  filter in the same round. Rounds measure the peers one after the other, in an order that rotates, and no filter twice; what is shown are medians of the rounds.
- **p50, p90, p99** are latencies at a fixed rate far below what the peers can take, counted from when a request was due.
- **/ ours** is how many times the CPU that the Python filter adds a peer adds.
- Each peer's work was checked before it was measured: the upstream gets the header, the user or the changed body, and requests that have to be refused are.
- Nobody gets an easier work, but they are not all the same: Lua and C compare passwords as they are where Python and Go hash them, Lua and the servers count no metrics, and of
  paths Python resolves every reading, Lua, Go and the servers one. Python remembers what it decided of up to 1,024 requests that differ; the table `paths` shows what it costs where
  that is of no use, since more paths come in turn.
- A callout's `no filter` passes the request on without asking anybody, so that what is added is the callout's cost, too.
"""

_LIMITS = """\
## What the rest is made of

- **CPU of a short request**: cold caches. A stream with an empty callback takes 0.12 us in a loop that does nothing else (V8 14.1, as in Node 25), and more than ten times that where 2 MB of
  other memory were touched since the last; basic_auth takes 0.8 us and as many times that. In Envoy a module in C that does nothing at all adds 3 to 6 us, one in C that makes the three hostcalls of
  basic_auth and a fourth 8 to 10 us. Counted on the module, basic_auth runs through 73 functions for a request, 124 times, and touches 112 lines of 64 bytes of memory; it was 164 functions, 560
  times, and 351 lines while streams' objects and strings were made, and requests judged anew, by the interpreter. That those functions stand beside each other saves a tenth.
- **basic_auth / Lua**: Lua's filter adds 7 to 10 us, and single rounds of it lie between 1 and 20 us, so this ratio moves more than others: 1.6, 1.7, 1.7, 1.8 and 2.4 in five runs of five rounds and more, 14 to 18 us
  against 6.6 to 9.6 us.
- **ext_authz / Python**: eight times less than the 90 to 110 us that ext_authz adds is 11 to 14 us; two runs measured 4.7 and 8.7, this one what the table says. The C filter, which compares plain
  passwords and knows one reading of a path, adds as much: what is left between the two is one call of Python with some ninety steps of the interpreter, each of which the processor has to fetch
  anew. To be sure of 8 it would take compiling an author's Python to WebAssembly, not interpreting it.
- **A callout**: the task, the call and the coroutine are Python's objects, and the interpreter begins twice, with cold caches, where Go has one closure.
- **Memory with one worker**: Envoy has three VMs for one worker (7 MB of snapshot each), keeps a byte of module in more than three bytes of memory, and V8's code takes some
  12 MB a megabyte of the 2.3 MB left; any VM, even an empty one, takes 15 MB. About 40 MB are what Envoy's allocator asked for while V8 compiled and keeps for nothing.
"""

_REPEAT = """\
## How to repeat it

On a quiet machine with Linux, in a clone; peers that are not installed are left out, and named:

```shell
make peers PEERS_ARGS='--json peers.json'
make peers PEERS_ARGS='--work basic_auth,start --only python,lua --rounds 3'
make peers PEERS_ARGS='--work requests --requests 1000000'
```

`--json` keeps a run, `--before` shows an earlier one beside it, and `--page` writes this page.
"""


def markdown(results: Results, before: Results | None, plot: str) -> str:
    """The page, which shows the picture in the file `plot`."""
    return "\n".join([_HEAD, *_body(results, before, plot), _REPEAT])


def _body(results: Results, before: Results | None, plot: str) -> Iterator[str]:
    found = list(tables(results, before))
    if judge(results):
        title, rows = found.pop()
        yield f"## {title.capitalize()}\n"
        yield from _table(rows)
        yield ""
    yield f"![What each peer adds]({plot})\n"
    yield _MEANING
    yield _LIMITS
    options = results.options
    yield "## Measured\n"
    yield f"- Machine: {results.machine}."
    yield f"- With: {results.software}."
    yield f"- {options['rounds']} rounds, {options['seconds']:g} s of load for each peer and work; latencies at {options['rate']:g} requests a second or less."
    if before is not None:
        yield f"- Before: {before.machine}, {before.options['rounds']} rounds of {before.options['seconds']:g} s."
    yield from (f"- Left out: {line}." for line in results.left_out)
    yield ""
    for title, rows in found:
        yield f"### {title}\n"
        yield from _table(rows)
        yield ""


def _table(rows: Rows) -> Iterator[str]:
    headings, *others = rows
    yield f"| {' | '.join(headings)} |"
    yield "|---|" + "---:|" * (len(headings) - 1)
    for row in others:
        yield f"| {' | '.join(row)} |"
