# The two commands of the README, `make demo` and `make test`; the site, `make docs`; the benchmark,
# `make bench` or `make bench BENCH_OPTIONS=--full`; and `make hostile`, which takes long. All need
# Python 3.11.
PYTHON ?= python3
# Options of the demo's run, enough for a picture within two minutes on two slow cores.
DEMO_OPTIONS ?= --size 320 --steps 60

# Cases that `make hostile` tries; `make test` tries a tenth of them.
HOSTILE_CASES ?= 10000

LOCK := requirements/test.txt
PACKAGES := cli serve web engine export models
# The folders stand for files that were added or removed.
SOURCES := pyproject.toml README.md LICENSE NOTICE $(PACKAGES) \
	$(wildcard $(PACKAGES:=/*.py) $(PACKAGES:=/*/*.py) $(PACKAGES:=/*/*/*.py) models/*.json models/*.onnx models/*.weights serve/page/* web/*.js)

.PHONY: demo test docs hostile bench
.NOTPARALLEL:

demo: .venv/installed
	mkdir -p out
	.venv/bin/ortist stylize examples/content.jpg examples/style.jpg --output out/demo.jpg --force \
		$(DEMO_OPTIONS)
	@echo "The picture is $(CURDIR)/out/demo.jpg"

test: .venv-test/installed web/node_modules/installed
	npm run --prefix web check
	.venv-test/bin/ruff check
	.venv-test/bin/ruff format --check
	.venv-test/bin/mypy $(foreach package,$(PACKAGES),-p ortist.$(package))
	.venv-test/bin/lint-imports --no-cache
	.venv-test/bin/pytest

docs: .venv-docs/installed web/node_modules/installed
	rm -rf out/site
	.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env \
		--doctree-dir .venv-docs/doctrees docs out/site
	.venv-docs/bin/ortist web out/site/demo --runtime web/node_modules
	.venv-docs/bin/python docs/check.py out/site
	@echo "The site begins at $(CURDIR)/out/site/index.html"

hostile: .venv-test/installed
	HOSTILE_CASES=$(HOSTILE_CASES) .venv-test/bin/pytest tests/hostile

bench: .venv-bench/installed
	.venv-bench/bin/python bench/run.py $(BENCH_OPTIONS)

# What setuptools finds in build/ it packs again, removed files included: hence the rm.
.venv/installed: $(LOCK) $(SOURCES)
	$(PYTHON) -m venv .venv
	rm -rf build
	.venv/bin/pip install --disable-pip-version-check --quiet --constraint $(LOCK) '.[cpu]'
	touch $@

.venv-test/locked: $(LOCK)
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --disable-pip-version-check --quiet --requirement $(LOCK)
	touch $@

.venv-test/installed: .venv-test/locked $(SOURCES)
	rm -rf build
	.venv-test/bin/pip install --disable-pip-version-check --quiet --no-deps .
	touch $@

web/node_modules/installed: web/package.json web/package-lock.json
	npm ci --prefix web --ignore-scripts --no-audit --no-fund
	touch $@

.venv-bench/installed: requirements/bench.txt $(LOCK) $(SOURCES)
	$(PYTHON) -m venv .venv-bench
	rm -rf build
	.venv-bench/bin/pip install --disable-pip-version-check --quiet --constraint $(LOCK) \
		--requirement requirements/bench.txt '.[cpu]'
	touch $@

.venv-docs/installed: requirements/docs.txt $(LOCK) $(SOURCES)
	$(PYTHON) -m venv .venv-docs
	rm -rf build
	.venv-docs/bin/pip install --disable-pip-version-check --quiet --constraint $(LOCK) \
		--requirement requirements/docs.txt '.[cpu,serve]'
	touch $@
