PYTHON ?= python3
EXTRAS ?= dev

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# A Python without a file of its own gets the newest versions that setup.cfg allows.
CONSTRAINTS := $(wildcard constraints/$(VERSION).txt)

.DEFAULT_GOAL := help
.PHONY: help .venv demo compare reproduce reproduce-quick notebooks test test-all lint bench freeze clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

.venv: .venv/installed ## The environment: make .venv [PYTHON=python3.13] [EXTRAS=dev,notebooks,gpu]

.venv/installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("agentic_rl needs Python 3.11 or newer; name one: make PYTHON=python3.13")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --disable-pip-version-check --quiet -e '.[$(EXTRAS)]' $(addprefix -c ,$(CONSTRAINTS))
	@touch $@

demo: .venv ## A small policy that visibly learns, in two minutes
	.venv/bin/python -m experiments.train demo

compare: .venv ## Supervised learning against reinforcement learning, in minutes
	.venv/bin/python -m experiments.sl_vs_rl

reproduce: .venv ## All studies in full, and one page of what came out (hours)
	.venv/bin/python -m experiments.reproduce

reproduce-quick: .venv ## A smoke test of every study, two at a time
	.venv/bin/python -m experiments.reproduce --quick --jobs 2

notebooks: .venv ## Run all notebooks anew, each in a minute or two, and keep what comes out
	.venv/bin/python notebooks/run.py

test: lint ## Style, formatting, and the fast tests
	.venv/bin/python -m pytest -n 2 --dist worksteal

test-all: lint ## Style, formatting, and all tests, also those that learn
	.venv/bin/python -m pytest -n 2 --dist worksteal -m ""

lint: .venv ## Style and formatting
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

bench: .venv ## How fast the loop, the tasks and exact values are on this machine
	.venv/bin/python benchmarks/loop.py
	.venv/bin/python benchmarks/growth.py
	.venv/bin/python benchmarks/tasks.py
	.venv/bin/python benchmarks/exact.py

freeze: ## Renew the exact versions for one Python: make freeze PYTHON=python3.13
	$(PYTHON) -m venv --clear .cache/freeze
	.cache/freeze/bin/python -m pip install --quiet -e '.[dev,notebooks]'
	.cache/freeze/bin/python -m pip check
	.cache/freeze/bin/python -m pip freeze --all --exclude-editable --exclude pip > constraints/$(VERSION).txt

clean: ## Remove the environment and all caches, but no results
	rm -rf .venv .cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
