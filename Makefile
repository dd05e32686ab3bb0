# make run    the bundled demo, from nothing
# make test   every test
# make lint   snakemake --lint, snakefmt, ruff, types
# make bench-text PETITIONS=folder   the text wing beside its peers (bench/text.md)
# make bench-audio   the audio wing beside its peers (bench/audio.md)
# make bench-embedding PETITIONS=folder, bench-store, bench-index, bench-chunking   documents and their vectors
# make bench-models   loading, adapters, quantized weights, steps of training (bench/models.md)
# make bench-gpu PETITIONS=folder   what of these a GPU does, beside the peers on it
# make bench-samples PETITIONS=folder   what is learnt from malgeul's samples and from the forerunner's (bench/models.md)
# What decides how: PYTHON (the interpreter for .venv), CORES, SNAKEMAKE_ARGS (anything snakemake takes)

PYTHON ?= python3
CORES ?= all
SNAKEMAKE_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: run test lint clean bench-text bench-audio bench-embedding bench-store bench-index bench-chunking bench-models
.PHONY: bench-samples bench-gpu

run: $(VENV)/.installed
	@$(BIN)/python scripts/release_lock.py
	@$(BIN)/snakemake --cores $(CORES) $(SNAKEMAKE_ARGS)
	$(if $(SNAKEMAKE_ARGS),,@echo "The report: results/demo/report.html")

# Files of unit tests run side by side, and so do runs of the workflow, which leave cores idle by turns. Where threads are
# more than cores, those of torch would wait for each other by counting: a third of what its tests take.
test: export OMP_WAIT_POLICY := PASSIVE
test: $(VENV)/.installed-dev lint
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile tests/unit
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup tests/workflow

lint: $(VENV)/.installed-dev
	@$(BIN)/snakemake --lint
	@$(BIN)/snakefmt --check Snakefile rules/*.smk
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

$(VENV)/.installed: requirements.txt constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (torch with CUDA is over 5 GB; README.md tells how to take the CPU build)"
	@$(INSTALL) --requirement requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@$(INSTALL) --requirement requirements-dev.txt
	@# Beside the others: transformers and peft import them wherever they are installed, with warnings.
	@$(INSTALL) --no-deps --upgrade --target $(VENV)/torchao torchao
	@$(INSTALL) --no-deps --upgrade --target $(VENV)/bitsandbytes bitsandbytes
	@touch $@

bench-text: $(VENV)/.installed-bench
	@$(BIN)/python bench/text.py $(PETITIONS)

bench-audio: $(VENV)/.installed-bench
	@$(BIN)/python bench/audio.py

bench-embedding bench-samples: bench-%: $(VENV)/.installed-dev
	@$(BIN)/python bench/$*.py $(PETITIONS)

bench-gpu: $(VENV)/.installed-dev
	@$(BIN)/python bench/gpu.py $(PETITIONS)
	@$(BIN)/python bench/training.py --model base

bench-store bench-index bench-chunking: bench-%: $(VENV)/.installed-dev
	@$(BIN)/python bench/$*.py

bench-models: $(VENV)/.installed-dev
	@$(BIN)/python bench/models.py
	@$(BIN)/python bench/training.py

$(VENV)/.installed-bench: $(VENV)/.installed-dev bench/requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --requirement bench/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) results .snakemake
