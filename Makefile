# make run    sets everything up and starts the sandbox
# make test   sets everything up and runs all tests
# make check  linters and types, strict
# make machine STEPS=100000  random lives against an independent model, for as long as you like
# make bench-fares  what pricing one message costs; make bench-markets: what finding its market costs
# Every path below is relative, so that a folder with a space in its name works.

.DEFAULT_GOAL := help
.PHONY: help run test check machine clean bench-fares bench-markets
SHELL := /bin/sh
PY := .venv/bin/python

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: .venv/installed
	@exec $(PY) -m farebox sandbox $(ARGS)

test: .venv/installed
	$(PY) -m pytest $(ARGS)

check: .venv/installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

machine: .venv/installed
	STEPS=$(or $(STEPS),100000) $(PY) -m pytest tests/test_machine.py $(ARGS)

bench-fares bench-markets: bench-%: .venv/installed
	PYTHONPATH=tests $(PY) -m benchmarks.$*

clean:
	rm -rf .venv .farebox

# Found by trying: a version manager may list a python3.13 that does not start.
.venv/installed: pyproject.toml
	@python=; for candidate in "$${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "farebox needs Python 3.11 or newer; none was found (python3 here: $$(python3 --version 2>&1 || true))." >&2; \
	  echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	  exit 1; fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$$python has no 'venv' module. Install it (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; fi; \
	echo "Setting up .venv with $$("$$python" --version) ..."; \
	"$$python" -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch .venv/installed
