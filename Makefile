# Everything runs in .venv, which is made on first use with the first Python from 3.11 on that is found; PYTHON=... names another.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test lint types bench peers images schemas clean

help:
	@echo "make demo    requests through a real Envoy with extensions/basic_auth in it"
	@echo "make test    all tests on all hosts, the branch coverage of the linker and the dispatcher, and whether docs/abi-coverage.md holds"
	@echo "make lint    ruff: rules and formatting"
	@echo "make types   pyright, strict"
	@echo "make bench   how long builds and requests take"
	@echo "make peers   what Python filters cost Envoy beside Lua, Go, C and servers that Envoy asks; PEERS_ARGS=... for options"
	@echo "make images REGISTRY=ghcr.io/acme   push an image of each extension; IMAGE_ARGS=... for options of proxy-wasm push"
	@echo "make schemas get the schemas that platforms publish, against which tests hold manifests"
	@echo "make clean   remove everything that was made, the virtual environment too"

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py

test: $(INSTALLED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -p scripts.abi_recording --proxy-compare $(PYTEST_ARGS)
	$(BIN)/python scripts/check_coverage.py
	$(BIN)/python scripts/abi_coverage.py --check $(if $(PYTEST_ARGS),--partial)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED)
	$(BIN)/pyright

bench: $(INSTALLED)
	-$(BIN)/python -m pip install --quiet --group peers
	$(BIN)/python -m benchmarks

peers: $(INSTALLED)
	-$(BIN)/python -m pip install --quiet --group peers
	$(BIN)/python -m benchmarks.peers $(PEERS_ARGS)

images: $(INSTALLED)
	$(BIN)/python scripts/publish_images.py $(REGISTRY) $(IMAGE_ARGS)

schemas: $(INSTALLED)
	$(BIN)/python scripts/published_schemas.py

clean:
	rm -rf $(VENV) .coverage* .abi-calls.json .pytest_cache .ruff_cache .hypothesis dist extensions/*/dist examples/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml scripts/create_venv.sh
	test -x $(BIN)/python || scripts/create_venv.sh $(VENV) $(PYTHON)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[deploy,envoy,image,test]' --group dev
	touch $@
