PYTHON ?= python3
# `make demo TORCH=cpu`: PyTorch without CUDA, from PyTorch's own index; a fifth of the size.
TORCH ?=
BIN := .venv/bin
UV = $(shell command -v uv || echo $(BIN)/uv)
INSTALL = $(UV) pip install -q -p $(BIN)/python -c requirements.txt

# Networks' packages are imported by every worker: uncompiled, that takes them twice as long.
export PYTHONDONTWRITEBYTECODE :=

POOL ?= cpu
# What is set outside of .env wins; loopback is nothing for a proxy.
WITH_ENV := set -a; given=$$(export -p); . ./.env; eval "$$given"; no_proxy=$$no_proxy,127.0.0.1,localhost; NO_PROXY=$$no_proxy;

.PHONY: demo install server deploy worker run test lint format docs lock clean

demo: .venv/installed  ## the whole pipeline on photos that come with installed packages
	$(BIN)/persona demo

install: .venv/torch  ## what a use needs beside the base: `make install EXTRAS=detect,train,heic,browse,cluster`
	$(INSTALL) -e ".[$(EXTRAS)]"

server: .venv/installed .env  ## a Prefect server on this machine, with the password in .env
	$(WITH_ENV) $(BIN)/python -P -m prefect server start --host 127.0.0.1

deploy: .venv/installed .env  ## register deployments, limits and automations on the server of .env
	$(WITH_ENV) $(BIN)/python -P -m flows.deploy

worker: .venv/installed .env  ## start the runs of one work pool: make worker POOL=gpu
	$(WITH_ENV) exec $(BIN)/python -P -m prefect worker start --pool $(POOL)

run: .venv/installed .env  ## start a run: make run DEPLOYMENT=curate/persona
	$(WITH_ENV) $(BIN)/python -P -m prefect deployment run $(DEPLOYMENT)

.env: | .env.example  ## passwords of its own, readable by its owner only
	umask 077; $(PYTHON) -c 'import re, secrets; print(re.sub(r"(?m)^(\w+_PASSWORD=)$$", lambda name: name[1] + secrets.token_hex(24), open(".env.example").read()), end="")' > $@

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
# ultralytics alone, without what its networks need: two of the demo's photos lie in its package.
.venv/installed: .venv/torch
	$(INSTALL) -e .
	$(INSTALL) --no-deps ultralytics
	touch $@

.venv/installed-dev: .venv/torch
	$(INSTALL) -e ".[detect,train,heic,browse,cluster,dev]"
	touch .venv/installed $@

# The lock names the wheels of the package index; those of PyTorch's own index have the same numbers and are left in place.
.venv/torch: pyproject.toml requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	command -v uv >/dev/null || $(BIN)/pip install -q "uv>=0.13,<0.14"
	test -z "$(TORCH)" || $(UV) pip install -q -p $(BIN)/python --torch-backend "$(TORCH)" --no-deps \
	    $$(grep -oE '^torch(vision)?==[0-9.]+' requirements.txt)
	touch $@

docs: .venv/installed-dev  ## the documents as a site: docs/_build/index.html
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build

lock:  ## requirements.txt anew from pyproject.toml; versions stay where the ranges let them
	$(UV) pip compile -q --all-extras --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	    pyproject.toml -o requirements.txt

clean:  ## everything that can be made again, except runs
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
