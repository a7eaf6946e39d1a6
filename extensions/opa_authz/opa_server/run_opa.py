"""The OPA behind `proxy-wasm run`: prints its address, then what it is, and serves the example policies until its standard input ends."""

import sys

try:
    from opa_process import POLICIES, running_opa
except ImportError as error:
    sys.exit(f"{error}; pip install opa-python-client, and regopy where there is no `opa` on the PATH")


def main() -> None:
    """Serve the policies of this extension."""
    with running_opa() as server:
        server.load(POLICIES)
        with server.client() as client:
            client.query_rule({}, "allow_list", "allow")  # what has to be compiled is, before the first request waits
        print(f"{server.host}:{server.port}")
        print(f"{server.name}, with the policies in {POLICIES.name}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
