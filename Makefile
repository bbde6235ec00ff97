# Everything a developer needs: `make` prints the targets. Needs python3.11, make and git; fetches the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=
MINUTES ?= $(if $(filter fuzz,$(MAKECMDGOALS)),5,20)
SEED ?=

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header $(ARGS)

.PHONY: help setup run test screenshots faults check format bench simulate soak fuzz messages man docs sbom lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from the lock; does nothing when it is up to date

# The stamp comes last: a run that was cut short starts again.
$(STAMP): requirements/dev.txt pyproject.toml scripts/make-venv
	@scripts/make-venv $(PYTHON)
	@touch $@

run: setup ## demo: broker, store, router and a fake customer; make run ARGS="--seconds 20"
	@scripts/ensure-broker --or-docker
	@exec $(BIN)/webhook-router demo $(ARGS)

test: setup .venv-docs/.installed ## every test; make test ARGS="-k retry"
	@scripts/ensure-broker
	@scripts/ensure-browser
	@scripts/ensure-promtool >/dev/null
	@exec $(BIN)/pytest -n 2 --dist worksteal $(ARGS)

screenshots: setup ## docs/img: the console's pages as the browser tests see them
	@scripts/ensure-browser
	@ROUTER_TEST_SCREENSHOTS=docs/img exec $(BIN)/pytest -q tests/browser/test_screenshots.py $(ARGS)

faults: setup ## break everything, write docs/faults.md; make faults ARGS="-k broker"
	@scripts/ensure-broker
	@scripts/ensure-faketime
	@exec $(BIN)/pytest tests/faults -n 2 --dist worksteal $(ARGS)

check: setup ## format, lint, types, import rules, lock, unit tests: under a minute
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m scripts.check_lock
	@$(BIN)/pytest -q tests/unit

format: setup ## let ruff format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure this machine; make bench ARGS="--help"
	@scripts/ensure-broker
	@$(MAKE) .venv-bridge/.installed || echo "bench: goes on without the bare bridge" >&2
	@exec $(BIN)/python -m bench $(ARGS)

simulate: setup ## N workers in virtual time; make simulate ARGS="--workers 8 --rate 1000 --seed 7"
	@exec $(BIN)/python -m bench.simulation $(ARGS)

soak: setup ## load with random faults, nothing may be lost; make soak MINUTES=60 SEED=7
	@scripts/ensure-broker
	@exec $(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: .venv-fuzz/.installed ## bytes against the decoder, by which code they reach; make fuzz MINUTES=5
	@exec .venv-fuzz/bin/python -m tests.fuzz --minutes $(MINUTES) --corpus .run/fuzz $(ARGS)

messages: setup ## bring the console's catalogues up to date with its texts
	@$(BIN)/python -m scripts.messages

man: setup ## manual pages, completions, policy files: from the definitions to config/
	@$(BIN)/python -m scripts.man

sbom: .venv-sbom/.installed ## what the router is made of, from the lock: dist/sbom.cdx.json (CycloneDX)
	@mkdir -p dist
	@PYTHONWARNINGS=ignore exec .venv-sbom/bin/cyclonedx-py requirements requirements/base.txt --pyproject pyproject.toml \
		--output-reproducible -o dist/sbom.cdx.json $(ARGS)

docs: .venv-docs/.installed ## the documentation as a site: dist/site; make docs ARGS="--site-dir DIR"
	@NO_MKDOCS_2_WARNING=1 exec .venv-docs/bin/mkdocs build --strict --quiet $(ARGS)

# An environment of its own for each: they are no part of what is developed with.
.venv-%/.installed: requirements/%.txt
	@echo "installing $< into .venv-$*" >&2
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lock: setup ## resolve requirements/*.txt again; make lock ARGS=--upgrade
	@$(COMPILE) pyproject.toml -o requirements/base.txt
	@$(COMPILE) pyproject.toml -c requirements/base.txt --extra otel -o requirements/otel.txt
	@$(COMPILE) pyproject.toml -c requirements/otel.txt --extra embedded --extra otel --extra dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml -c requirements/base.txt --extra fuzz -o requirements/fuzz.txt
	@echo 'mq-bridge==1.2.0' | $(COMPILE) - -c requirements/base.txt -o requirements/bridge.txt
	@echo 'cyclonedx-bom>=7' | $(COMPILE) - -c requirements/base.txt -o requirements/sbom.txt
	@echo 'mkdocs-material>=9.8.2,<10' | $(COMPILE) - -c requirements/dev.txt -o requirements/docs.txt
	@echo hatchling | $(COMPILE) - -c requirements/dev.txt -o requirements/build.txt
	@git diff --stat -- requirements

clean: ## remove .venv, caches and .run
	@rm -rf .venv .venv-* .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	@find router tests bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
