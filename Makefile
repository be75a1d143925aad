# Everything newsrail needs besides Python 3.11+ (with pip or venv) and make, it gets itself.

UV_VERSION := 0.13.9
PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --frozen

.PHONY: setup run test faults faults-mutants compose-test check bench format

setup: .venv/.ready

# uv lives outside the environment it manages, else its sync would remove it. Debian has
# pip without venv or venv without pip; either will do.
$(UV):
	@mkdir -p .tools/bin
	@if $(PYTHON) -m venv .tools/venv >/dev/null 2>&1; then \
	  .tools/venv/bin/python -m pip install --quiet uv==$(UV_VERSION) && \
	  ln -sf ../venv/bin/uv $(UV); \
	else \
	  rm -rf .tools/venv && \
	  $(PYTHON) -m pip install --quiet --target .tools/lib uv==$(UV_VERSION) && \
	  ln -sf ../lib/bin/uv $(UV); \
	fi

.venv/.ready: $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --quiet --compile-bytecode --python $(PYTHON)
	@touch $@

run: setup
	@exec .venv/bin/newsrail up $(ARGS)

test: setup
	$(RUN) pytest $(ARGS)

# All of newsrail under kills, hangs, cut connections, a full Redis and power losses; then all
# that it answers beside what it was sent. ARGS="--minutes 60 --seed 7 --table FILE".
faults: setup
	$(RUN) python -m tests.faults $(ARGS)

# Each guard taken out in turn must turn it red.
faults-mutants: setup
	$(RUN) python -m tests.faults --mutants --minutes 1 $(ARGS)

# Needs a Docker engine with Compose; builds the image and starts all of it, beside what runs.
compose-test: setup
	NEWSRAIL_TEST_COMPOSE=1 $(RUN) pytest --timeout 300 tests/compose $(ARGS)

check: setup
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

format: setup
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

bench: setup
	$(RUN) python -m bench $(ARGS)
