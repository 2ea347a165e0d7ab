# Everything sets itself up: `make demo` and `make test` need only Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEER_VENV ?= .venv-peer
PEER_BIN := $(PEER_VENV)/bin
PEER_READY := $(PEER_VENV)/.ready

unexport PYTHONDONTWRITEBYTECODE # every command that a test starts would compile the package again

.PHONY: demo demo-live test test-pages screenshots lint format vectors bench soak test-peers clean

demo: $(READY)  ## the main job on samples: import, verify, rebuild, judge, find damage; optimise, kill, resume, replay
	$(BIN)/affidavit demo

demo-live: $(READY)  ## optional: an optimisation with real small models, 1.2 GB to download; see docs/live-run.md
	$(BIN)/python docs/live/prepare.py .demo-live
	$(BIN)/python docs/live/run.py .demo-live

test: $(READY)  ## all tests; those of the pages need `chromium`, and are skipped with a word where it is not
	$(BIN)/python -m pytest -q -n auto --dist worksteal -rs

test-pages: $(READY)  ## the part of `test` that visits every page in a real browser
	$(BIN)/python -m pytest -q -n auto --dist worksteal -rs tests/pages tests/api/pages

screenshots: $(READY)  ## the pictures in docs/images, made anew from the recorded world of the tests
	$(BIN)/python tests/pages/screenshots.py

lint: $(READY)  ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vectors: $(READY)  ## make the golden vectors again; git must then show no change
	$(BIN)/python tests/vectors/make_vectors.py
	$(BIN)/python tests/vectors/make_evidence.py

bench: $(READY)  ## the speeds that docs/performance.md reports, as ratios of two things measured in one run
	$(BIN)/python bench/run.py

soak: $(READY)  ## minutes of everything at once, with faults; SOAK_STORE=sqlite|postgresql15|postgresql18, SOAK_SECONDS
	$(BIN)/python -m affidavit.bench.soak $(or $(SOAK_STORE),sqlite)

test-peers: $(READY) $(PEER_READY)  ## the real peers: aevyra-reflex reads what we rebuild, it and gepa record here, reflexio-client uses our server
	rm -rf .peer-check
	$(BIN)/python tests/peers/rebuild_reflex_samples.py api/demo/reflex .peer-check
	$(PEER_BIN)/python tests/peers/check_reflex_profile.py .peer-check/imported api/demo/reflex $(wildcard ../shared/golden/reflex/expected)
	$(PEER_BIN)/python tests/peers/check_reflex_profile.py .peer-check/withheld
	rm -rf .peer-check
	$(PEER_BIN)/python tests/peers/check_reflexio_client.py $(BIN)/affidavit
	$(PEER_BIN)/python tests/peers/record_with_reflex.py
	$(PEER_BIN)/python tests/peers/record_with_gepa.py

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Affidavit needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(PEER_READY): pyproject.toml
	$(PYTHON) -m venv $(PEER_VENV)
	$(PEER_BIN)/python -m pip install --quiet 'aevyra-reflex[openai]==0.2.0' 'gepa==0.1.4' reflexio-client --editable .
	$(PEER_BIN)/python -m pip download --quiet --no-deps --python-version 3.12 --only-binary=:all: --dest $(PEER_VENV)/wheels 'reflexio-ai==0.2.8'
	$(PEER_BIN)/python tests/peers/supply_reflexio_defaults.py $(PEER_VENV)/wheels
	touch $@

clean:
	rm -rf $(VENV) $(PEER_VENV) build dist *.egg-info
