# Every target does its own set-up in .venv, once; `make clean` takes everything away again.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint clean

demo: $(READY)
	$(VENV)/bin/textless demo demo

test: $(READY)
	$(VENV)/bin/python -m pytest -q

test-slow: $(READY)
	$(VENV)/bin/python -m pytest -q -m slow

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("textless needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
