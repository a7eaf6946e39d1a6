"""`python -m proxy_wasm.cli`."""

import sys

from proxy_wasm.cli.main import main

sys.exit(main())
