# Everything a contributor does, a line each: make help. The tools run from the repository's root, in .venv.
PYTHON := .venv/bin/python
export PYTHONPATH := .:tools:tests

.PHONY: help preprocess check format lint types test slow gpu goldens docs docs-serve profiles compiled models hardware evidence laws \
	curves points tables bench exports fuzz clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/' | column -t -s "$$(printf '\t')"

$(PYTHON): pyproject.toml constraints.txt
	@echo 'making .venv: minutes, in silence'
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[test]'
	touch $(PYTHON)

check: lint types test ## all that has to hold before a change is sent

format: $(PYTHON) ## lay out the code, and mend what can be mended
	.venv/bin/ruff check --fix -q . || true
	.venv/bin/ruff format .

lint: $(PYTHON) ## layout and lint, nothing changed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: $(PYTHON) ## mypy, strict, on the package, the tests and the tools
	.venv/bin/mypy

test: $(PYTHON) ## the tests, as CI runs them: about nine minutes on two cores
	$(PYTHON) -m pytest -n 2

slow: $(PYTHON) ## the slow tests: planted faults by the hundred, large exports (real weights: see docs/rounding.md)
	$(PYTHON) -m pytest -m slow -s

gpu: $(PYTHON) ## the tests that need a GPU
	$(PYTHON) -m pytest -m gpu -s

goldens: $(PYTHON) ## predictions as they are now, to be reviewed in the diff
	$(PYTHON) -m pytest tests/test_golden.py --update-goldens

docs: $(PYTHON) ## the site, strictly, into site/
	.venv/bin/mkdocs build --strict

docs-serve: $(PYTHON) ## the site at http://localhost:8000, made again at every change
	.venv/bin/mkdocs serve

profiles: hardware models evidence laws ## every shipped profile from facts/
	$(PYTHON) tools/make_compiled.py

compiled: $(PYTHON) ## profiles/compiled.jsonl, which commands read in place of the profiles that it was made of
	$(PYTHON) tools/make_compiled.py

hardware: $(PYTHON) ## profiles/hardware, typical.toml, device_names.toml
	$(PYTHON) tools/make_hardware.py

models: $(PYTHON) ## profiles/models from facts/vlms.csv; what of published totals is unexplained
	$(PYTHON) tools/make_models.py

evidence: $(PYTHON) ## profiles/evidence.toml and profiles/scores from published scores and studies
	$(PYTHON) tools/make_evidence.py

laws: points ## profiles/laws, each by vlmplan fit
	$(PYTHON) tools/make_laws.py

points: $(PYTHON) ## the tables that the shipped laws are fitted to
	$(PYTHON) tools/law_points.py

curves: $(PYTHON) ## the constants of the curves of fewer pixels and tokens: ten minutes
	$(PYTHON) tools/token_curves.py

preprocess: $(PYTHON) ## what images take before the vision tower sees them: facts/preprocess.csv
	$(PYTHON) tools/measure_preprocess.py

tables: $(PYTHON) ## the tables of docs/evidence.md and docs/scores.svg
	$(PYTHON) tools/fit_efficiency.py
	$(PYTHON) tools/fit_overhead.py
	$(PYTHON) tools/latency_coverage.py
	$(PYTHON) tools/plot_scores.py
	$(PYTHON) tools/leave_one_study_out.py
	$(PYTHON) tools/curve_forms.py
	$(PYTHON) tools/regret.py
	$(PYTHON) tools/legibility.py

bench: $(PYTHON) ## how long things take here: cold start, fit, export
	$(PYTHON) tools/bench_cold.py
	$(PYTHON) tools/bench_fit.py
	$(PYTHON) tools/bench_export.py

exports: $(PYTHON) ## docs/evidence/exports.md: every family exported and proved; half an hour (CLIENT=DIR has transformers.js)
	$(PYTHON) tools/export_table.py $(if $(CLIENT),--client $(CLIENT))

fuzz: $(PYTHON) ## ten minutes of spoilt files (needs pip install atheris)
	$(PYTHON) tools/fuzz.py --minutes 10

clean: ## what the tools leave behind
	rm -rf site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
