# The whole vocabulary: install, demo, serve, test, check, bench, reference-test, docs; and image-test,
# cluster-test, which need what a bare machine has not.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo serve test check bench reference-test docs image-test cluster-test

install: $(INSTALLED) ## Everything into .venv; does nothing when it is up to date.

$(INSTALLED): requirements/dev.txt pyproject.toml scripts/install.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed and not there"; exit 1; }
	@test -x $(BIN)/python || { echo "==> creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python scripts/install.py
	@touch $@

demo: install ## Starts the service, transcribes real speech through the OpenAI SDK, stops it.
	@$(BIN)/python scripts/demo.py

serve: install ## Runs the service until Ctrl-C; WHISPER_HOST and WHISPER_PORT say where.
	@$(BIN)/python -m whisper_service

test: check ## All tests, with the real engine.
	@$(BIN)/python -m pytest -m "engine or slow"

check: install ## Lint, types, unit tests: under a minute.
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -m "not engine and not slow" -n 2 --dist loadfile --timeout 60 -q

BENCH ?=
bench: install ## Speed beside every alternative, in one run; BENCH=--quick for the goals alone.
	@$(BIN)/python scripts/bench.py $(BENCH)

REFERENCE ?=
reference-test: install ## Compares with openai/whisper, for minutes; REFERENCE=--sample for one.
	@$(BIN)/python scripts/reference_test.py $(REFERENCE)

docs: install ## The documentation site, into build/docs; warnings are errors.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/docs/index.html"

ENGINE ?= podman
IMAGE ?= localhost/whisper-service:cpu
RUN_ARGUMENTS ?=
image-test: install ## Runs the built CPU image confined: start, transcribe, drain.
	@$(BIN)/python scripts/image_test.py --engine "$(ENGINE)" --image $(IMAGE) \
		--run-arguments="$(RUN_ARGUMENTS)"

cluster-test: install ## Two replicas under Ray Serve: one is killed, all are updated. Needs 10 GB.
	@$(BIN)/python -c "import ray" 2>/dev/null || $(BIN)/python -m pip install --quiet -e ".[ray]"
	@$(BIN)/python scripts/cluster_test.py
