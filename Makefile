# make setup | demo | findings | reference | test | lint | clean | lock
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The data and results of the demo.
MOVIELENS := data/movielens-100k
RESULTS := results/movielens

export RAY_USAGE_STATS_ENABLED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo findings reference test browser lint clean lock
.DELETE_ON_ERROR:

setup: $(INSTALLED) ## an environment in .venv with everything pinned; does nothing the second time

# The lock is complete, so nothing is resolved: TorchRec's metadata would bring FBGEMM's CUDA build.
$(INSTALLED): requirements/cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "setup: $(PYTHON) does not run as Python 3.11; install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements/cpu.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python requirements/check.py
	@touch $@

demo: $(MOVIELENS)/meta.json ## real data, every kind of arm, the trade-off table and its pictures
	$(BIN)/soloist sweep movielens --output $(RESULTS)
	@echo "The table in all formats and the figures: $(RESULTS)/report"

findings: setup $(MOVIELENS)/meta.json ## experiments on the paper's conditions, into docs/findings.md
	$(BIN)/python -m jobs.findings

reference: setup ## the reference of all experiment fields, into docs/experiment-reference.md
	$(BIN)/python -m jobs.reference

$(MOVIELENS)/meta.json: | $(INSTALLED)
	$(BIN)/soloist prepare movielens --output $(MOVIELENS)

# By name: else files of one test, which are among the longest, come last, and one process waits.
test: setup browser ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without it the tests of the report's page are skipped, and say so.
browser: ## Chromium, in which the report's page is tested, where it is missing and apt can bring it
	@command -v chromedriver >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; } || \
	  echo "browser: no Chromium here, and only root can bring it with apt-get; the report's page is not tested" >&2

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: setup ## resolve requirements/cpu.in again
	$(BIN)/python requirements/lock.py

clean: ## remove the environment and all caches; data and results stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find recsys distrib jobs analysis cluster tests -name __pycache__ -type d -prune -exec rm -rf {} +
