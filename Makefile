PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := -c constraints.txt

.PHONY: demo deploy test lint format clean

demo: .venv/installed  ## the whole pipeline on photos that come with installed packages
	$(BIN)/persona demo

deploy: .venv/installed  ## register deployments, limits and automations on the server of PREFECT_API_URL
	$(BIN)/python -m flows.deploy

test: .venv/installed-dev  ## the whole test suite
	$(BIN)/pytest

lint: .venv/installed-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is installed is installed again only where the project says something else.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q $(CONSTRAINTS) -e .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q $(CONSTRAINTS) -e ".[dev,browse,cluster]"
	touch .venv/installed $@

clean:  ## everything that can be made again, except runs
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
