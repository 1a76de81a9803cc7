# `make run` and `make test` install what they need. What was installed once is not looked at again.

VENV := .venv
BIN := $(VENV)/bin
# Empty: the first of python3.14 ... python3.11, python3 that is new enough
PYTHON :=
# Programs that tests talk to or through, and the Debian packages that have them
# (MariaDB's without the service that mariadb-server starts)
ENGINES := curl=curl jq=jq nginx=nginx prometheus=prometheus redis-server=redis-server redis-cli=redis-tools \
    mariadbd=mariadb-server-core my_print_defaults=mariadb-client-core clickhouse-server=clickhouse-server
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PALAVER := $(PIP_INSTALL) --no-build-isolation --no-deps --editable .
# More words for `palaver up` or pytest: make run ARGS="--port 8080"
ARGS :=

.PHONY: run install test check bench campaign docs proto lock clean infrastructure migrate service down

run: $(VENV)/run.stamp
	@exec $(BIN)/palaver up $(ARGS)

install: $(VENV)/run.stamp

# A deployment on MySQL, ClickHouse and Redis: make infrastructure && make migrate && make service
infrastructure: $(VENV)/run.stamp
	@$(BIN)/palaver infra up $(ARGS)

migrate: $(VENV)/run.stamp
	@$(BIN)/palaver infra run migrate $(ARGS)

service: $(VENV)/run.stamp
	@exec $(BIN)/palaver infra run service $(ARGS)

down: $(VENV)/run.stamp
	@$(BIN)/palaver infra down $(ARGS)

test: $(VENV)/dev.stamp $(VENV)/engines.stamp
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m bench $(ARGS)

# Kills, freezes and cuts for as long as one likes: make campaign ARGS="--kills 1000 --seed 7"
campaign: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.campaign $(ARGS)

# Pages that are made from the code
docs: $(VENV)/run.stamp
	$(BIN)/palaver settings > docs/reference/settings.md
	$(BIN)/python -m palaver.gateway.frozen_openapi v2 > docs/reference/openapi-v2.json

proto: $(VENV)/dev.stamp
	$(BIN)/python -m grpc_tools.protoc -Ipalaver/contracts=proto/palaver/v1 \
	    --python_out=src --pyi_out=src --grpc_python_out=src palaver/contracts/messenger.proto

# The newest versions that fit; the tests' packages keep to the services' versions
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate
lock: $(VENV)/dev.stamp
	$(LOCK) requirements/run.in --output-file requirements/run.lock
	$(LOCK) requirements/dev.in --constraint requirements/run.lock --output-file requirements/dev.lock
	$(LOCK) --no-deps requirements/engines.in --output-file requirements/engines.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@requirements/venv.sh $(VENV) $(PYTHON)

$(VENV)/run.stamp: requirements/run.lock pyproject.toml | $(BIN)/python
	@echo "Installing Palaver in $(VENV) ..."
	@$(PIP_INSTALL) --require-hashes --requirement requirements/run.lock
	@$(PALAVER)
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock $(VENV)/run.stamp
	@echo "Installing what tests and checks need ..."
	@$(PIP_INSTALL) --require-hashes --requirement requirements/dev.lock
	@touch $@

$(VENV)/engines.stamp: Makefile requirements/engines.lock | $(BIN)/python
	@requirements/debian.sh $(ENGINES)
	@$(PIP_INSTALL) --require-hashes --no-deps --requirement requirements/engines.lock
	@touch $@
