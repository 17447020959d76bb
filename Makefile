# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PEER := .peer
RUN := $(VENV)/bin/python -m
READY := $(VENV)/.ready

# make demo KEEP=1 SIZE=small        make bench SCALE=0.1 ONLY=fast,search
# make profile DATA=slices SIDE=server DELIVERY=decoded SCALE=0.1
SIZE ?= full
ONLY ?=
DATA ?= stack
SIDE ?= client
DELIVERY ?= auto
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help clients torch conformance demo test check bench profile schemas lock clean

help:
	@echo 'make demo     a realistic run: made, ingested, served, read back, checked (KEEP=1 leaves it serving)'
	@echo 'make test     format, lint, types, layers, schemas, then all tests'
	@echo 'make check    the same without the tests'
	@echo 'make bench    our figures beside those of Tiled, on the same data'
	@echo 'make profile  where the time goes: DATA=stack|frames|slices|take|table|loader SIDE=server|client'
	@echo '              DELIVERY=auto|direct|encoded|decoded SCALE=0.1'
	@echo 'make clients  the environment of Tiled and its clients, for tests and for bench'
	@echo 'make torch    PyTorch for both environments, for the tests and figures that want it (TORCH=…)'
	@echo 'make conformance  the tests of Tiled itself against this server (ONLY="writing sparse": some)'
	@echo 'make schemas  the JSON Schema files, from the types'
	@echo 'make lock     pinned versions, from pyproject.toml'
	@echo 'make clean    remove what make made'

$(READY): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed'; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(RUN) pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(PEER)/.ready: benchmarks/peer.lock
	@test -x $(PEER)/bin/python || $(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clients: $(PEER)/.ready

# In no lock file: the usual build is several GB, and which one fits depends on the machine.
torch: $(READY) $(PEER)/.ready
	$(RUN) pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'

conformance: $(READY) $(PEER)/.ready
	$(RUN) tests.conformance.run $(ONLY)

demo: $(READY)
	$(VENV)/bin/lakeservice demo --size $(SIZE) $(if $(KEEP),--keep)

check: $(READY)
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports --no-cache
	$(RUN) schemas.export --check

test: check
	$(RUN) pytest

bench: $(READY) $(PEER)/.ready
	$(RUN) benchmarks.bench --peer $(PEER)/bin/python $(if $(SCALE),--scale $(SCALE)) \
		$(if $(ONLY),--only $(ONLY))

profile: $(READY)
	$(RUN) benchmarks.profiling --data $(DATA) --side $(SIDE) --delivery $(DELIVERY) \
		$(if $(SCALE),--scale $(SCALE))

schemas: $(READY)
	$(RUN) schemas.export

lock: $(READY)
	$(RUN) pip install --quiet --disable-pip-version-check uv
	$(RUN) uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header \
		--group dev --extra client pyproject.toml --output-file requirements.lock --quiet
	$(RUN) uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header \
		benchmarks/peer.in --output-file benchmarks/peer.lock --quiet

clean:
	rm -rf $(VENV) $(PEER) .demo .bench .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .benchmarks benchmarks/results dist .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
