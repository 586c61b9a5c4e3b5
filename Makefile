# make run    sets everything up and starts the sandbox
# make test   sets everything up and runs all tests
# make check  linters and types, strict, and the audit of dependencies
# make audit  known vulnerabilities of the packages that are installed; says so where it could not ask
# make machine STEPS=100000  random lives against an independent model, for as long as you like
# make simulate SEEDS=1000000 FIRST=0  whole lives under faults, with a clock that is not real; SEED=1234: one life, every event
# make simulate-planted  which of the planted bugs these lives find, and after how many
# make planted BUGS=fence  deliberate bugs, each of which must turn a test red; all of them without BUGS
# make chaos CYCLES=100  real processes under load, one fault after the other, and a table of what was lost or doubled: nothing
# make renewals CROSSINGS=10000  thresholds crossed under concurrent sends, with declined, late, lost and doubled payments
# make screenshots  every screen of the page, light and dark, wide and narrow, into FOLDER (screenshots); needs chromium
# make bench-page MESSAGES=10000000  a year of messages from a seed, and what each screen and call of the page takes
# make soak MINUTES=30 RATE=200  steady load: memory, latency, books, and the log looked through for secrets
# make image  the steps of the Dockerfile in a fresh Debian (debootstrap, as root), for machines without an engine
# make scale-out ROUNDS=10  gateways come and go under load behind a balancer, in network namespaces; needs root
# make wheel  builds the wheel, installs it into an environment that is empty, and runs it there
# make bench  what enforcement costs, in ratios to a proxy that enforces nothing; ONLY=sends: one part of it (tests/benchmarks)
# make bench-growth  the same against numbers, windows, holds and ledger rows, drawn; FULL=1: to 50 million rows, for hours
# make bench-profile  where a gateway under load spends its time
# make bench-fares  what pricing one message costs; make bench-markets: what finding its market costs
# make bench-rebuild NUMBERS=100000  what a lost Redis costs: all wallets again, a cold first send, a send while it hangs
# make bench-sizes MESSAGES=100000  what a message, a hold and a window take up in the stores: the figures of docs/sizing.md
# make bench-designs  two straw designs of a balance beside ours: what they overspend, how fast they are
# Every path below is relative, so that a folder with a space in its name works.

.DEFAULT_GOAL := help
.PHONY: help run test check audit machine simulate simulate-planted planted chaos renewals screenshots bench-page image scale-out wheel soak clean bench bench-growth bench-profile bench-fares bench-markets bench-designs bench-rebuild bench-sizes
SHELL := /bin/sh
PY := .venv/bin/python

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: .venv/installed
	@exec $(PY) -m farebox sandbox $(ARGS)

test: .venv/installed
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	@$(MAKE) --no-print-directory audit

audit: .venv/installed
	@PYTHONPATH=tests $(PY) -m audit

machine: .venv/installed
	STEPS=$(or $(STEPS),100000) $(PY) -m pytest tests/test_machine.py $(ARGS)

simulate: .venv/installed
	PYTHONPATH=tests $(PY) -m simulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000) --first $(or $(FIRST),0)) $(ARGS)

simulate-planted: .venv/installed
	PYTHONPATH=tests $(PY) -m simulate.hunt $(ARGS)

planted: .venv/installed
	PYTHONPATH=tests $(PY) -m planted $(BUGS)

chaos: .venv/installed
	PYTHONPATH=tests $(PY) -m chaos --cycles $(or $(CYCLES),100) $(ARGS)

renewals: .venv/installed
	PYTHONPATH=tests $(PY) -m renewals --crossings $(or $(CROSSINGS),10000) $(ARGS)

bench: .venv/installed
	PYTHONPATH=tests $(PY) -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(ACCEPT),--accept)

bench-growth: .venv/bench
	PYTHONPATH=tests $(PY) -m benchmarks.growth $(if $(FULL),--full)


bench-profile: .venv/bench
	PYTHONPATH=tests $(PY) -m benchmarks.profile

bench-fares bench-markets bench-designs bench-rebuild bench-sizes: bench-%: .venv/installed
	PYTHONPATH=tests $(PY) -m benchmarks.$*

screenshots: .venv/installed
	PYTHONPATH=tests $(PY) -m page.screenshots $(or $(FOLDER),screenshots) $(ARGS)

bench-page: .venv/installed
	PYTHONPATH=tests $(PY) -m page.bench --messages $(or $(MESSAGES),10000000) $(ARGS)

soak: .venv/installed
	PYTHONPATH=tests $(PY) -m soak --rate $(or $(RATE),200) --minutes $(or $(MINUTES),30)

image: .venv/installed
	@root=$(or $(ROOT),$$(mktemp -d)) && test -x $$root/bin/sh || \
	  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie $$root && \
	PYTHONPATH=tests $(PY) -m operate.image $$root

scale-out: .venv/installed
	ROUNDS=$(or $(ROUNDS),10) $(PY) -m pytest --timeout 3600 tests/operate/test_scale_out.py $(ARGS)

wheel: .venv/installed
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir "$$folder" . && $(PY) -m venv "$$folder/empty" && \
	"$$folder/empty/bin/pip" install --quiet --disable-pip-version-check "$$folder"/farebox-*.whl && \
	cd / && "$$folder/empty/bin/farebox" check

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

.venv/bench: .venv/installed
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	@touch .venv/bench
