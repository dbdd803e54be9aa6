# The commands of the project. Each sets up what it needs, on a fresh machine too.
#
#   make run              everything, with the demo: prints the URL, a login and a token; Ctrl-C stops it
#   make run DEMO=none    the same with an empty platform
#   make test             the test suite on the embedded services; ARGS="-k promote" passes options to pytest
#   make e2e              the browser tests, and the suite on real PostgreSQL, Redis and RabbitMQ
#   make check            format, lint, types, import contracts, migrations, deployment checks
#   make bench            the benchmarks, printed as a table and written to bench-results.json

PYTHON := .venv/bin/python
DEMO ?= flights
ARGS ?=

.DEFAULT_GOAL := run
.PHONY: run test e2e check bench setup setup-dev format requirements clean

run: setup
	@exec $(PYTHON) manage.py up $(if $(filter none,$(DEMO)),,--demo $(DEMO))

test: setup-dev
	@exec $(PYTHON) -m pytest -n auto --maxprocesses 4 -m "not e2e and not browser" $(ARGS)

e2e: setup-dev
	@exec .ci/e2e $(ARGS)

check: setup-dev
	@exec .ci/check

bench: setup-dev
	@exec $(PYTHON) -m tests.performance $(ARGS)

setup:
	@.ci/setup run

setup-dev:
	@.ci/setup dev

format: setup-dev
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

# Pins the dependencies anew after a change in pyproject.toml; ARGS=--upgrade takes the newest releases.
requirements: setup-dev
	@.ci/compile $(ARGS)

# Removes the environment and the caches; the state in var/ stays.
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench-results.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
