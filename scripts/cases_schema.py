"""Write docs/proxy-wasm-cases.schema.json: what editors know of files of cases."""

import json
from pathlib import Path

from proxy_wasm.testing.cases.format import schema

SCHEMA = Path(__file__).parents[1] / "docs" / "proxy-wasm-cases.schema.json"

if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", "utf-8")
