# Every target makes its own virtual environment where none is there; `make VENV=/somewhere/else test` uses another.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMPILED := .compiled

# Tests compute, and now and then one waits: one more than there are processors, and no more than eight, run side by side.
WORKERS ?= $(shell processors=$$(getconf _NPROCESSORS_ONLN); echo $$((processors < 7 ? processors + 1 : 8)))
# Proofs wait for real time to pass.
PROVERS ?= 4
# A file's tests stay together, since they share what was expensive to make; the longest files come first.
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# What takes minutes by its nature, or waits for real time: tests marked `proof`, and whole rooms (tests/conftest.py).
PROOFS := prove-simulation prove-chaos prove-figures prove-stories
FIGURES := tests/stories/test_database_down.py tests/proofs/test_enforcement.py
OTHERS := tests/simulation tests/chaos $(FIGURES)
EVERY_TEST_BY_ITSELF := -n $(PROVERS) --maxschedchunk 1

# A hundred processes begin in every run; each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test compiled test-compiled prove $(PROOFS) lint style types floors format bench serve simulate chaos fuzz storm clean

help:
	@echo 'make demo      a prepaid session, from login to top-up, with live figures'
	@echo 'make test      the test suite'
	@echo 'make prove     what takes minutes: simulation, chaos, peers, load, stories on real clocks'
	@echo 'make lint      style, types and floors'
	@echo 'make format    rewrite the code in the house style'
	@echo 'make compiled  an installation in .compiled whose hot path is C, by mypyc'
	@echo 'make bench     that server and FreeRADIUS side by side'
	@echo 'make serve     bring the database up to date and serve   (ARGS="--auth-port 1812")'
	@echo 'make simulate  the server on a fake clock, with faults   (SEEDS=5000 FROM=0)'
	@echo 'make chaos     real processes, real faults             (SECONDS=600 SEED=1)'
	@echo 'make fuzz      any octets, at whatever reads them       (SECONDS=60 for each target)'
	@echo 'make storm     a NAS reboots, everybody comes back      (LOGINS=20000)'
	@echo 'make clean     remove the virtual environment and what the tools left'

install: $(INSTALLED)

# The stamp is written last, so an interrupted installation is done again.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo 'no virtual environment could be made; on Debian: apt install python3-venv'; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[test]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/aaa demo $(ARGS)

test: $(INSTALLED)
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not proof' $(ARGS)

prove: $(PROOFS)

# Two hundred seeds with their own figures; then each planted bug by name, and seeds on PostgreSQL.
prove-simulation: $(INSTALLED)
	@$(BIN)/python -m tests.simulation --seeds 200 --complete
	@$(BIN)/python -m pytest $(EVERY_TEST_BY_ITSELF) -rA tests/simulation $(ARGS)

prove-chaos: $(INSTALLED)
	@$(BIN)/python -m pytest $(EVERY_TEST_BY_ITSELF) -raP tests/chaos $(ARGS)

# One after the other: they promise how fast the server is.
prove-figures: $(INSTALLED)
	@AAA_TEST_OUTAGE_SECONDS=60 $(BIN)/python -m pytest -raP $(FIGURES) $(ARGS)

prove-stories: $(INSTALLED)
	@$(BIN)/python -m pytest $(EVERY_TEST_BY_ITSELF) -raP -m proof tests $(OTHERS:%=--ignore=%) $(ARGS)

lint: style types floors

style: $(INSTALLED)
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

floors: $(INSTALLED)
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# What a compiled installation has, with the tests and the benchmark beside it.
compiled: $(COMPILED)/.made

$(COMPILED)/.made: $(INSTALLED) setup.py $(shell find aaa charging cli migrations dictionaries -name '*.py')
	@rm -rf $(COMPILED) build
	@echo 'compiling, which takes a minute or two'
	@AAA_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --target $(COMPILED) .
	@touch $@

test-compiled: compiled
	@rm -rf $(COMPILED)/tests $(COMPILED)/docs && cp -r tests bench docs README.md pyproject.toml $(COMPILED)
	@cd $(COMPILED) && $(abspath $(BIN))/python -m pytest $(SIDE_BY_SIDE) -m 'not proof' \
	  tests/aaa tests/charging tests/store $(ARGS)

bench: compiled
	@rm -rf $(COMPILED)/bench && cp -r bench $(COMPILED)
	@cd $(COMPILED) && $(abspath $(BIN))/python -m bench $(ARGS)

serve: $(INSTALLED)
	@$(BIN)/aaa db upgrade
	@$(BIN)/aaa serve $(ARGS)

SEEDS ?= 200
FROM ?= 0
simulate: $(INSTALLED)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(ARGS)

SEED ?= 1
chaos: $(INSTALLED)
	@$(BIN)/python -m tests.chaos --seed $(SEED) $(SECONDS:%=--seconds %) $(ARGS)

fuzz: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[test,fuzz]' || true
	@$(BIN)/python -m tests.fuzz $(SECONDS:%=--seconds %) $(ARGS)

LOGINS ?= 20000
storm: $(INSTALLED)
	@$(BIN)/python -m bench.storm --logins $(LOGINS) $(ARGS)

clean:
	rm -rf $(VENV) $(COMPILED) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
