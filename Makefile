# `make demo` and `make test` need Python (3.11 or newer) and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: demo test test-all install lint types imports docs check clean help

help:
	@echo "make demo      a search on the embedded digits, under 5 minutes; writes report.html"
	@echo "make test      the tests, under 12 minutes on two cores"
	@echo "make test-all  the long tests too: kills by the dozen, real packages, a real browser"
	@echo "make install   .venv with everything that tests, benchmarks and docs use"
	@echo "make check     lint, types and import rules"
	@echo "make docs      the documentation, in docs/_build/html"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Vilfredo needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.core: $(BIN)/python $(SOURCES)
	$(PIP) --editable .
	@touch $@

.venv/.test: .venv/.core
	$(PIP) --editable '.[test]'
	@touch $@

.venv/.all: .venv/.test
	$(PIP) --editable '.[test-all,bench,lint,docs]'
	$(PIP) --no-deps 'syne-tune>=0.16' 'snntorch>=0.9' 'spikingjelly>=0.0.0.0.14' 'pytorchfi==0.6.0'
	@touch $@

install: .venv/.all

demo: .venv/.core
	$(BIN)/vilfredo search digits --store demo.db --report report.html

# By file, since those of a file share what they trained.
test: .venv/.test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-all: .venv/.all
	$(BIN)/python -m pytest -m 'long or not long' --durations 15

lint: .venv/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.all
	$(BIN)/mypy

imports: .venv/.all
	$(BIN)/lint-imports

check: lint types imports

docs: .venv/.all
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf .venv build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
