# Works with any Python: `make test`, or `make test PYTHON=.venv/bin/python`.
PYTHON ?= python
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install test lint format check docs bench soak dist clean

help:  ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install:  ## Volano with all that developing it needs, in the versions it is tested with
	$(PYTHON) -m pip install -c constraints.txt -e ".[dev]"

test:  ## All tests, on all cores: on the CPU, without a network
	$(PYTHON) -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

lint:  ## Style, types, and which room may import which
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

format:  ## Bring the code into shape
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

check: lint test  ## lint, then test

docs:  ## Bring docs/errors.md and docs/spec.md in step with the code
	$(PYTHON) docs/generate.py

bench:  ## The benchmarks: hours, on a quiet machine; each writes a dated result
	@set -e; for script in benchmarks/*.py; do \
	  case "$$script" in benchmarks/_*) continue;; esac; \
	  echo "$$script"; $(PYTHON) "$$script"; done

soak:  ## The tests over and over, each time from other seeds, for SOAK_MINUTES (60)
	@end=$$(( $$(date +%s) + 60 * $${SOAK_MINUTES:-60} )); seed=$$(date +%s); \
	while [ $$(date +%s) -lt $$end ]; do \
	  seed=$$((seed + 1)); echo "seed $$seed"; \
	  $(PYTHON) -m pytest -q -x --hypothesis-seed=$$seed $(PYTEST_ARGS) || exit 1; done

dist:  ## A wheel of Volano in dist/
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

clean:  ## Remove what the tools left behind
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find volano tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
