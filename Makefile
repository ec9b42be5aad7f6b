# Every target does its own set-up: a virtual environment in .venv with the locked packages.
# The second call finds the stamp and starts at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# For example PIP_ARGS="--extra-index-url URL" with the list of CPU builds that PyTorch names.
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.mien-installed
BLENDERS := 4.2.23 5.0.1
BLENDER_STAMPS := $(BLENDERS:%=.venv-blender-%/.mien-installed)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-blender check format addon window bench serve clean

help:  ## say what each target does
	@grep -E '^[a-z-]+:.*  ## ' Makefile | sed -E 's/^([a-z-]+):.*  ## /  make \1\t/' | expand -t 22

setup: $(STAMP)  ## make the environment that the other targets use

$(STAMP): requirements.lock pyproject.toml scripts/system_libraries.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "The development environment needs Python 3.11 (Blender's module asks for it);" \
		"found $$($(PYTHON) --version). Name another one with: make PYTHON=/path/to/python3.11"; \
		exit 1; }
	PYTHON=$(PYTHON) scripts/system_libraries.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r requirements.lock
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)  ## track the embedded samples; results, overlays and a .blend in out/demo
	$(BIN)/python scripts/demo.py

test: $(STAMP)  ## run the tests, with Blender 4.5 as a module
	$(BIN)/python scripts/run_tests.py

# Other Blender versions, each in an environment of its own; the tests start it from the main one.
# The modules of 5.1 and 5.2 ask for Python 3.13: with them in an environment of yours, run
# MIEN_BLENDER_PYTHON=ENVIRONMENT/bin/python .venv/bin/python -m pytest tests/blender
.venv-blender-%/.mien-installed: $(STAMP)
	test -x .venv-blender-$*/bin/python || $(PYTHON) -m venv .venv-blender-$*
	.venv-blender-$*/bin/python -m pip install --quiet $(PIP_ARGS) bpy==$*
	touch $@

test-blender: $(STAMP) $(BLENDER_STAMPS)  ## run the tests inside Blender 4.5, 4.2 and 5.0
	$(BIN)/python -m pytest tests/blender
	set -e; for version in $(BLENDERS); do \
		MIEN_BLENDER_PYTHON=$(CURDIR)/.venv-blender-$$version/bin/python \
			$(BIN)/python -m pytest tests/blender; done

check: $(STAMP)  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

addon: $(STAMP)  ## build the Blender extension into dist/
	$(BIN)/python build_addon.py

window: $(STAMP) addon  ## go the artist's way in a real Blender window; pictures in out/window
	$(BIN)/python scripts/window_job/run.py

bench: $(STAMP)  ## run every benchmark; figures in out/bench
	mkdir -p out/bench
	set -e; for name in $$($(BIN)/mien bench --names); do \
		$(BIN)/mien bench $$name --json out/bench/$$name.json; done

serve: $(STAMP)  ## start the tracking service on this machine
	$(BIN)/mien serve

clean:  ## remove what the targets made, environments apart
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
