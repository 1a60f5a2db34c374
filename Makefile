# `make demo` and `make test` are all a fresh machine needs; see README.md.
.DEFAULT_GOAL := help
.PHONY: help demo down test unit e2e vm-test lint format bench setup

DATA_DIR ?= /var/lib/hawser
PYTEST ?= .venv/bin/pytest
# Tests wait more than they compute. A file's tests stay in one process, and each process has an engine of its own;
# WORKERS=0 runs all in one, as pytest itself does.
WORKERS ?= 2
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# What fails runs once more when the rest has ended, as Kubernetes' own end to end jobs do: hundreds of real processes on
# a machine that others use, too. A second failure counts; the first stays on the screen. RETRY=0 is for hunting races.
RETRY ?= 1
AGAIN = echo "Once more, alone, what failed above:" && $(PYTEST) --last-failed --last-failed-no-failures none
TEST = $(PYTEST) $(PARALLEL) $(1) || { code=$$?; [ $$code = 1 ] && [ $(RETRY) != 0 ] || exit $$code; $(AGAIN) $(1); }

help: ## Show what there is
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install everything that tests and linters need
	@tools/setup.sh dev

demo: ## Start the engine with a legacy application in a rich container
	@./hawser demo --data-dir $(DATA_DIR)

down: ## Stop the engine and remove every trace; PURGE=1 removes the data, too
	@./hawser down --data-dir $(DATA_DIR) $(if $(PURGE),--purge)

lint: setup ## Lint, formats, types, import directions
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## Format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

test: lint unit e2e ## Lint and run every test

unit: setup ## The fast tests and the components'
	@$(call TEST,--ignore=tests/e2e)

e2e: setup ## Tests against a running engine with real containers
	@$(call TEST,tests/e2e)

vm-test: ## Try everything in a virtual machine with systemd and pure cgroup v2; SUITE=trixie for another release
	tests/vm/run.sh $(SUITE)

bench: setup ## Measure a running engine
	.venv/bin/python bench/run.py --kubeconfig $(DATA_DIR)/kubeconfig/admin.yaml
