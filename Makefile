# Every target sets up what it needs in .venv; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST ?=
RUN ?=
BENCH ?=
FUZZ ?= -max_total_time=60

.DEFAULT_GOAL := help
.PHONY: help install run test fuzz lint format typecheck bench docs image

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Install everything into .venv (about a minute)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Cure: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV): about a minute, chDB is a 130 MB download."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[embedded,dev]' \
		> $(VENV)/install.log 2>&1 & pid=$$!; \
		while kill -0 $$pid 2>/dev/null; do sleep 1; printf .; done; echo; \
		wait $$pid || { tail -20 $(VENV)/install.log; exit 1; }
	@touch $@

run: $(STAMP) ## Start the receiver on the embedded defaults (RUN='--config my.yaml' for another configuration)
	@$(BIN)/otlp-receiver run $(RUN)

test: $(STAMP) ## Run every test (PYTEST='-k name' for some)
	@$(BIN)/python -m pytest $(PYTEST)

fuzz: $(STAMP) ## Breed requests that break the decoder, in build/fuzz (FUZZ='-max_total_time=600' for seconds each)
	@for encoding in protobuf json; do \
		$(BIN)/python -m tests.support.fuzz_decode $$encoding build/fuzz/$$encoding $(FUZZ) || exit 1; done

lint: $(STAMP) ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## Bring the code into shape
	@$(BIN)/ruff check --fix-only --quiet . || true
	@$(BIN)/ruff format .

typecheck: $(STAMP) ## Check types, strictly
	@$(BIN)/mypy

bench: $(STAMP) ## Measure; results go to benchmarks/README.md (BENCH='decode map' for some)
	@$(BIN)/python -m benchmarks $(BENCH)

docs: $(STAMP) ## Write the generated pages of docs/
	@$(BIN)/python -m config.docs
	@$(BIN)/python -m tests.support.coverage
	@$(BIN)/python -m pipelines.schema_docs

image: ## Build the container image (needs Docker)
	docker build -f deploy/Dockerfile -t otlp-receiver .
