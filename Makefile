# Everything a developer or a fresh machine needs; only Python (3.11 or newer, with venv) is asked for.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types layers tests doctests mutants bench docs clean

help:
	@echo "make install   create .venv and install annealnet with all extras, versions from constraints.txt"
	@echo "make demo      train a small network on embedded digits, compress it 10x, show the report"
	@echo "make test      formatting, lint, types, import layers, tests, doctests, the README's commands"
	@echo "make mutants   change the code in 180 places and see whether the tests notice (a quarter of an hour)"
	@echo "make bench     measure against the peers, side by side"
	@echo "make docs      build the documentation into docs/_build/html"

install: $(STAMP)

# The stamp lies inside the environment, so that it goes when the environment goes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "annealnet needs Python 3.11 or newer; name one: make install PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/annealnet demo

test: lint types layers tests doctests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

# tests/test_readme.py runs what the README prints. Each of the two processes takes whole folders (kernels are compiled once),
# and the one that ends first takes over what is left of the other's.
tests: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

doctests: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal --doctest-modules src

# see docs/development.md
mutants: $(STAMP)
	$(BIN)/python tests/mutants.py --named
	$(BIN)/python tests/mutants.py --sample 60

bench: $(STAMP)
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
