# `make` alone prints what there is. Everything is installed into ./.venv, and nothing outside this folder is touched
# but the caches of pip and uv.

UV_VERSION := 0.13.8
PIP_AUDIT_VERSION := 2.10.1
# cpu, or gpu on a machine with an NVIDIA GPU: EXTRA=gpu make setup
EXTRA ?= cpu
# The Python to build ./.venv with; found when unset.
PYTHON ?=
# Further arguments for pytest or a benchmark: make test ARGS="tests/api -x"
ARGS ?=
# Processes that run tests side by side, a file at a time; JOBS=0 runs them one after another in one process.
JOBS ?= 2
# For make test-faults: how many faults, under how many jobs (0: two for five faults), of which seed (a new one when
# unset), on which deployment: sqlite, postgres or both.
FAULTS ?= 60
JOBS_COUNT ?= 0
SEED ?=
DEPLOYMENT ?= both
# For make examples: anything in QUICK makes it short, ONLY has numbers of experiments.
QUICK ?=
ONLY ?=

PY := .venv/bin/python
KEY = $$(cat uv.lock pyproject.toml | cksum | tr ' ' '-')-$(EXTRA)-$(CURDIR)
FAILED = { echo "Setup: it failed, and the lines above say why. The next time starts over." >&2; exit 1; }

export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
# The environment is built with the Python that is found here; uv must not fetch another one.
export UV_PYTHON_DOWNLOADS := never
# A machine whose HOME is not set has no place for caches but this one.
ifeq ($(strip $(HOME)),)
export UV_CACHE_DIR ?= $(CURDIR)/.venv/.cache/uv
export PIP_CACHE_DIR ?= $(CURDIR)/.venv/.cache/pip
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo up examples illnesses bench-setup bench-training bench-memory bench-diagnosis bench-serving-setup bench-serving bench-load test test-faults check lint audit format types migration clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The last line of .venv/.ready says for what it was made, so a second time does nothing. What an interrupted setup left
# is thrown away: a package that is half there looks complete to an installer.
setup: ## install everything into ./.venv (EXTRA=gpu for NVIDIA GPUs, PYTHON=... for another Python)
	@set -e; \
	if [ "$$(cat .venv/.ready 2>/dev/null)" = "$(KEY)" ] && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	python=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python python3.13); do \
		if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
		then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Trainyard needs Python 3.11, 3.12 or 3.13, and $(if $(PYTHON),$(PYTHON) is none,none was found)." >&2; \
		echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	if [ -e .venv/.unfinished ]; then echo "Setup: an earlier one was interrupted; starting over."; rm -rf .venv; fi; \
	if [ -n "$(PYTHON)" ] && [ -e $(PY) ] && [ "$$($(PY) -V 2>&1)" != "$$("$$python" -V 2>&1)" ]; then rm -rf .venv; fi; \
	if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		echo "Setup: making ./.venv with $$("$$python" -V)."; \
		rm -rf .venv; mkdir .venv; touch .venv/.unfinished; "$$python" -m venv .venv; \
	fi; \
	touch .venv/.unfinished; rm -f .venv/.ready; \
	if [ "$$(.venv/bin/uv --version 2>/dev/null | cut -d ' ' -f 2)" != $(UV_VERSION) ]; then \
		echo "Setup: installing uv $(UV_VERSION), which installs the rest."; \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-input uv==$(UV_VERSION) || $(FAILED); \
	fi; \
	echo "Setup: installing the locked packages ($(EXTRA)); the first time this fetches some 400 MB."; \
	.venv/bin/uv sync --frozen --extra $(EXTRA) --compile-bytecode --python $(PY) || $(FAILED); \
	echo "$(KEY)" > .venv/.ready; rm -f .venv/.unfinished; \
	echo "Setup: done."

demo: setup ## start everything, train a digit reader, let it read pictures, stop
	@exec $(PY) -m trainyard demo

up: setup ## start the service on this machine and keep it running until Ctrl-C
	@exec $(PY) -m trainyard up

examples: setup ## run every experiment, write docs/experiments.md (QUICK=1 small, into var; ONLY=03,07 some of them)
	@exec $(PY) -m examples.gallery $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

illnesses: setup ## measure the diagnosis on 24 ill jobs and 24 healthy ones (ARGS="--half measured")
	@exec $(PY) -m examples.illnesses $(ARGS)

bench-setup: setup ## install PyTorch and JAX into benchmarks/.venv, for bench-training
	@$(PY) -m venv benchmarks/.venv
	@benchmarks/.venv/bin/python -m pip install --disable-pip-version-check --no-input -r benchmarks/requirements.txt

bench-training: setup ## training beside stock Keras, PyTorch and JAX (ARGS="--case cnn --epochs 5")
	@exec $(PY) -m benchmarks.training $(ARGS)

bench-memory: setup ## memory of one worker over 200 short jobs (ARGS="--jobs 60")
	@exec $(PY) -m benchmarks.memory $(ARGS)

bench-diagnosis: setup ## time that the diagnosis takes of a training (ARGS="--case dense-32 --epochs 30")
	@exec $(PY) -m benchmarks.diagnosis_cost $(ARGS)

bench-serving-setup: setup ## install BentoML, LitServe and MLflow into benchmarks/.venv-serving, for bench-serving
	@$(PY) -m venv benchmarks/.venv-serving
	@benchmarks/.venv-serving/bin/python -m pip install --disable-pip-version-check --no-input -r benchmarks/requirements-serving.txt

bench-serving: setup ## predictions beside other servers (ARGS="--contestant trainyard --contestant livez --seconds 5")
	@exec $(PY) -m benchmarks.serving $(ARGS)

bench-load: setup ## the API under load: a long queue, 1,000 event streams, 200 submits a second (ARGS="--quick")
	@exec $(PY) -m benchmarks.under_load $(ARGS)

test: setup ## run every test (ARGS=... goes to pytest; HYPOTHESIS_PROFILE=thorough tries properties on four times as many examples)
	@echo "Test: every test; servers that they need are started by them."
	@exec $(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-faults: setup ## kill, cut and freeze everything under running jobs, then check all (FAULTS=60 DEPLOYMENT=both SEED=1)
	@exec $(PY) -m tests.faults --faults $(FAULTS) --jobs $(JOBS_COUNT) --deployment $(DEPLOYMENT) $(if $(SEED),--seed $(SEED))

check: lint types test ## lint, types, tests

lint: setup ## look for mistakes, for formatting that differs, and with bandit for what is not safe
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/bandit --quiet --recursive --configfile pyproject.toml api worker models migrations trainyard

# Strict: a package that the service does not know was not looked at, and that must not pass for "nothing found".
audit: setup ## look up known weaknesses of the locked packages (needs PyPI)
	@.venv/bin/uv export --frozen --quiet --no-emit-project --extra $(EXTRA) --extra s3 --output-file .venv/locked.txt
	@.venv/bin/uv tool run pip-audit@$(PIP_AUDIT_VERSION) --strict --requirement .venv/locked.txt --disable-pip \
		--progress-spinner off $(ARGS)

format: setup ## mend formatting and what can be mended by itself
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

types: setup ## check the types
	@.venv/bin/mypy

migration: setup ## write a migration for changed models: make migration m="what changes"
	@test -n "$(m)" || { echo 'Say what changes: make migration m="add a column"' >&2; exit 1; }
	@.venv/bin/alembic revision --autogenerate -m "$(m)"

clean: ## remove ./.venv and all caches; var/ with jobs and models stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
