# The two commands a newcomer needs are `make demo` and `make test`; both set everything up themselves.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DELETE_ON_ERROR:
.PHONY: demo test fuzz check bench-proofs bench-audit bench-tasks bench-round bench-faults vectors setup clean

demo: $(READY)
	$(BIN)/python -m deploy.demo

# Three workers keep two cores busy, as some tests wait; threads within one would only wait for those of another.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

fuzz: $(READY)
	INTERTWINE_FUZZ_ENVELOPES=100000 $(BIN)/python -m pytest tests/integration/test_agent_attacks.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

vectors: $(READY)
	$(BIN)/python -m tests.conformance.generate_vectors

bench-proofs: $(READY)
	$(BIN)/python -m deploy.bench

bench-audit: $(READY)
	$(BIN)/python -m deploy.bench.audit

bench-tasks: $(READY)
	$(BIN)/python -m deploy.bench.tasks

bench-round: $(READY)
	$(BIN)/python -m deploy.bench.round

bench-faults: $(READY)
	$(BIN)/python -m deploy.bench.faults

setup: $(READY)

$(READY): pyproject.toml deploy/constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found. Install Python 3.11 or say where it is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else 2)' || { echo "intertwine needs Python 3.11, but $(PYTHON) is another version. Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf build $(VENV)
