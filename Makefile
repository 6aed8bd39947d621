# BOute: `make run` starts everything, `make test` proves it. Both install what they need first.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test check clean install install-test

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

run: install ## install what is missing, then start dashboard, controller and gateway
	@exec $(BIN)/boute up

test: install-test ## install what is missing, then run every check and every test
	@$(PYTHON) scripts/chromium.py
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest

check: install-test ## formatting, lint, types, import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --strict scripts
	@$(BIN)/lint-imports

clean: ## remove the environment and caches; data in .boute stays
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

install:
	@$(PYTHON) scripts/bootstrap.py

install-test:
	@$(PYTHON) scripts/bootstrap.py --test
