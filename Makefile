# Thin fronts: `make reproduce` and its like call `dreal`, whose engine is the Snakefile.
# Needs Python 3.11 or newer, make and git; everything else is installed into .venv.
#   make test PYTHON=/path/to/python3.12    another interpreter
#   make test WORKERS=8                     more test processes

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
WORKERS ?= 2
UV := uv==0.13.8
VENV := .venv
STAMP := $(VENV)/.installed
# Set in each recipe, not exported: `setup` has to see the caller's Python, not that of .venv.
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: help setup reproduce reproduce-all test book pdf browser chromium benchmark soak notebooks archive wheel clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP)  ## the environment in .venv, as pinned by constraints.txt (about a minute)

# The stamp is written last, so that an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>&1 | tail -n 1) || true; \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' answers '$$found'; try make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@echo "installing the packages of constraints.txt into $(VENV)"
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python -c constraints.txt -e ".[retrieval,curves,book,test,timm]" || { \
	  echo "uv could not install (it reads no pip configuration); trying pip, which is slower" >&2; \
	  $(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[retrieval,curves,book,test,timm]"; }
	@touch $@

reproduce: setup  ## data, one pair of runs, notebooks and book, on the embedded data (minutes)
	$(RUN) dreal reproduce

reproduce-all: setup  ## the same with every row of the tables and ablations (about an hour)
	$(RUN) dreal reproduce --all

# One thread in each process: the workers share the cores. A module stays on one worker, which has
# its fixtures; tests/conftest.py begins with the longest.
test: setup  ## style, tests, and the committed notebooks run again
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder
	$(RUN) OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadscope --nbval \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg book/notebooks

# From an empty folder: a second, incremental build would hide the first one's warnings.
book: setup  ## the published book, from the committed notebooks, into build/published
	rm -rf build/published
	$(RUN) jupyter-book build book --config _config.yml --path-output build/published -W --keep-going -n
	@echo "build/published/_build/html/index.html"

# One page first, which MathJax sets and Chromium prints.
pdf: setup chromium  ## the published book as one PDF, by Chromium, into build/book.pdf
	rm -rf build/single
	$(RUN) jupyter-book build book --config _config.yml --path-output build/single --builder singlehtml -W --keep-going -n
	@browser=$$(command -v chromium || command -v chromium-browser || command -v google-chrome) || { \
	  echo "no Chromium to print with; install one, or print single pages from the book" >&2; exit 1; }; \
	"$$browser" --headless --no-sandbox --disable-gpu --disable-background-networking --virtual-time-budget=120000 \
	  --no-pdf-header-footer --generate-pdf-document-outline --print-to-pdf=build/book.pdf \
	  "file://$(CURDIR)/build/single/_build/singlehtml/intro.html"
	@echo build/book.pdf

# BOOK=build/book/_build/html: the re-run book, as `make reproduce` left it.
BOOK ?= build/published/_build/html
browser: $(if $(filter build/published/%,$(BOOK)),book,setup)  ## each page in a real browser; pictures in build/screenshots
	$(RUN) DREAL_BOOK=$(BOOK) pytest -p no:cacheprovider tests/browser

chromium:  ## Debian's Chromium for the browser tests, where it is absent and can be installed
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq --no-install-recommends chromium >/dev/null; } || \
	    echo "chromium could not be installed; the browser tests skip"; \
	else echo "no chromium, and no root or apt-get to install it; the browser tests skip"; fi

benchmark: setup  ## ratios of cost, measured in one run (minutes; a table, and build/benchmarks)
	$(RUN) python tests/benchmarks/figures.py
	$(RUN) python tests/benchmarks/retrieval.py
	$(RUN) python tests/benchmarks/step.py
	$(RUN) python tests/benchmarks/input.py

soak: setup  ## a thousand short runs killed and started again (ten minutes; build/benchmarks)
	$(RUN) python tests/soak.py

notebooks: setup  ## run the committed notebooks again, from their sources and committed records
	$(RUN) python -m book.companion.pages.execute

archive: setup  ## records, notebooks, figures and pins in one zip with checksums, into build/artifact.zip
	rm -f build/artifact.zip
	$(RUN) dreal archive build/artifact.zip

wheel: setup  ## build the wheel; in an empty environment, train and evaluate with it (a minute)
	$(RUN) python tests/wheel_trial.py

clean:  ## delete build/ (the environment in .venv stays)
	rm -rf build
