"""What Python filters cost a real Envoy, beside what else does the same work: `python -m benchmarks.peers`.

Theory of operation
-------------------
Every peer gets an Envoy of its own with one worker, and one listener for each work; all of them pass requests on to one more Envoy, which
answers at once. One listener is under load at a time, so that the CPU time of the peer's processes (Envoy's, and the server's that it asks) divided by
the requests that were answered is what a request costs. In every round each peer is measured once, in an order that rotates, and what a peer
adds is its cost less that of the Envoy without a filter in the same round; medians over the rounds are compared.

Before anything is measured, each peer handles the same request once in front of a server that shows what arrived: only what does the
work is measured.

| module | holds |
|---|---|
| `works` | what is measured: the requests, and what has to become of them |
| `contenders` | the peers: what they need, and how Envoy is told to use them |
| `modules` | Wasm modules from the sources in `filters` |
| `servers` | what ext_authz and ext_proc ask |
| `proxies` | the Envoys and all that stands around them |
| `schedule` | requests sent at times that do not depend on the answers |
| `rounds`, `starting`, `flatness` | the measurements |
| `results`, `targets`, `table`, `plot`, `page` | what came out: kept as JSON, judged, and shown |
"""
