# Two commands do everything on a fresh machine: `make train` and `make test`. `make help` says the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m experiments

SETTING ?= gzsl_artiface
LANDMARKER ?= slpt
PROFILE ?= quick
COMPARISON ?= methods
STUDY ?= warping
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup train evaluate figure curves compare study import-weights test lint bench

help:  ## what can be done
	@echo "make setup                      a virtual environment in $(VENV) with everything (idempotent)"
	@echo "make train SETTING=$(SETTING)"
	@echo "    SETTING     da_cariface | da_artiface | gzsl_artiface | gzsl_cariface | oracle | own"
	@echo "    METHOD      face_warping | stylize | self_training | fda | revgrad | adaptsegnet | cyclegan | bdl | supervised"
	@echo "                                                         (default: face_warping; oracle: supervised)"
	@echo "    LANDMARKER  slpt | hrnet | star | openpose | spiga | sbr | integral   (default: slpt)"
	@echo "    DATA        synthetic | folder with 300W/, CariFace_dataset/, AF_dataset/   (default: synthetic)"
	@echo "    SOURCE TARGET [TEST]   your own folders, with SETTING=own"
	@echo "    PROFILE     quick (minutes on two CPU cores) | paper (default: quick)"
	@echo "    SEED        a number                                 (default: 0)"
	@echo "    RESUME=1    go on with a run that was stopped"
	@echo "    EMA=1       test and save a moving average of the weights"
	@echo "    WANDB=1     also log to Weights & Biases (WANDB_MODE=offline keeps it here)"
	@echo "    ARGS        anything of the Lightning CLI, e.g. ARGS=\"--trainer.max_epochs=3\""
	@echo "make evaluate CKPT=runs/…/best.ckpt TEST=folder [OUT=metrics.json]"
	@echo "make figure PHOTO=photo.jpg STYLISED=face.png [CKPT=runs/…/last.ckpt] [OUT=figure.png]"
	@echo "make curves RUNS=\"runs/… runs/…\" [OUT=curves.png]         NME over the epochs"
	@echo "make import-weights LANDMARKER=slpt FROM=file [TO=file]   published weights, under our names"
	@echo "make compare COMPARISON=landmarkers|methods SOURCE=photos TARGET=drawings   whole runs under one budget"
	@echo "make study STUDY=warping SOURCE=photos TARGET=drawings    many short adaptations and their table"
	@echo "make test | lint | bench"

# The stamp is newer than what it was made from exactly when the environment is up to date.
$(VENV)/.ready: pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
		{ [ -x $(BIN)/python ] || uv venv --quiet --python "$(PYTHON)" $(VENV); } && \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[dev]"; \
	else \
		{ [ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV); } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"; \
	fi
	@touch $@

setup: $(VENV)/.ready

train: setup
	@$(RUN) train --setting "$(SETTING)" --landmarker "$(LANDMARKER)" --profile "$(PROFILE)" --seed "$(SEED)" \
		$(if $(METHOD),--method "$(METHOD)") $(if $(DATA),--data "$(DATA)") $(if $(SOURCE),--source "$(SOURCE)") \
		$(if $(TARGET),--target "$(TARGET)") $(if $(TEST),--test "$(TEST)") $(if $(filter 1,$(RESUME)),--resume) \
		$(if $(filter 1,$(EMA)),--ema) $(if $(filter 1,$(WANDB)),--wandb) $(ARGS)

evaluate: setup
	@$(if $(CKPT),,$(error CKPT is not set: make evaluate CKPT=runs/…/best.ckpt TEST=folder))
	@$(if $(TEST),,$(error TEST is not set: make evaluate CKPT=runs/…/best.ckpt TEST=folder))
	@$(RUN) evaluate --ckpt "$(CKPT)" --test "$(TEST)" $(if $(OUT),--out "$(OUT)") $(ARGS)

figure: setup
	@$(if $(and $(PHOTO),$(STYLISED)),,$(error PHOTO and STYLISED are not both set: \
		make figure PHOTO=photo.jpg STYLISED=face.png [CKPT=runs/…/last.ckpt] [OUT=figure.png]))
	@$(RUN) figure --photo "$(PHOTO)" --stylised "$(STYLISED)" $(if $(CKPT),--ckpt "$(CKPT)") \
		$(if $(OUT),--out "$(OUT)") $(ARGS)

curves: setup
	@$(if $(RUNS),,$(error RUNS is not set: make curves RUNS="runs/… runs/…" [OUT=curves.png]))
	@$(RUN) curves $(RUNS) $(if $(OUT),--out "$(OUT)") $(ARGS)

compare: setup
	@$(RUN) compare $(COMPARISON) $(if $(DATA),--data "$(DATA)") $(if $(SOURCE),--source "$(SOURCE)") \
		$(if $(TARGET),--target "$(TARGET)") $(if $(TEST),--test "$(TEST)") $(ARGS)

study: setup
	@$(RUN) study $(STUDY) $(if $(SOURCE),--source "$(SOURCE)") $(if $(TARGET),--target "$(TARGET)") $(ARGS)

import-weights: setup
	@$(if $(FROM),,$(error FROM is not set: make import-weights LANDMARKER=slpt FROM=file [TO=file]))
	@$(RUN) import-weights --landmarker "$(LANDMARKER)" --from "$(FROM)" $(if $(TO),--to "$(TO)") $(ARGS)

test: setup
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup
	@$(BIN)/python -m experiments.bench
	@$(BIN)/python -m experiments.bench_landmarkers $(ARGS)
