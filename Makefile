# Everything that people and CI run. Each target makes what it needs, the virtual environment included.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test explore test-gpu test-slurm check bench docs clean venv

demo: $(STAMP)
	$(BIN)/xnas run experiments/digits/nasbowl.toml --workers 2 --root results --profile cluster/local.toml
	@echo
	@echo "The results, read by DuckDB:"
	$(BIN)/python -m xnas_ray.commands.duckdb_peek results

# What computes runs two at a time; what starts Ray, scripts and browsers has the machine for itself.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not alone" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m alone

# Properties with new random examples, many of them; what fails becomes an @example of its test.
explore: $(STAMP)
	$(BIN)/python -m pytest -m "not alone" -n 2 --dist loadfile --hypothesis-profile=explore

test-gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu -rs

# A real Slurm with three nodes on this machine, for the time of the tests; installs Slurm where it is missing.
test-slurm: $(STAMP)
	slurm/dev/up.sh
	eval "$$(slurm/dev/up.sh --print)" && $(BIN)/python -m pytest -m slurm -rs tests/slurm; code=$$?; slurm/dev/down.sh; exit $$code

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python experiments/performance/scheduler_throughput.py
	$(BIN)/python experiments/performance/throughput.py
	$(BIN)/python experiments/performance/utilisation.py
	$(BIN)/python experiments/performance/fair_share.py
	$(BIN)/python experiments/performance/introspectability_cost.py
	$(BIN)/python experiments/performance/report_page.py

docs: $(STAMP)
	$(BIN)/python -m pytest tests/test_docs.py

venv: $(STAMP)

# torch and torchvision come first and pinned: the resolver then leaves them alone.
$(STAMP): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[data,test,dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .coverage
