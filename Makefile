# Two commands do everything on a fresh machine: `make train` and `make test`. `make help` says the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m experiments

## which data is source, target and tested: @settings
SETTING ?= gzsl_artiface
## how it learns (default: face_warping; with SETTING=oracle: supervised; with SETTING=own: stylize): @methods
METHOD ?=
## what learns (default: slpt; with SETTING=own: integral): @landmarkers
LANDMARKER ?=
## how long, and in which form landmarkers come: @profiles
PROFILE ?= quick
## synthetic (the default), or a folder with 300W/, CariFace_dataset/, AF_dataset/
DATA ?=
## labelled photos, with SETTING=own
SOURCE ?=
## stylised faces, with SETTING=own
TARGET ?=
## labelled faces to score (with SETTING=own those of TARGET, if not given)
TEST ?=
## random seed
SEED ?= 0
## 1: go on with a run that was stopped
RESUME ?=
## 1: test and save a moving average of the weights
EMA ?=
## 1: also log to Weights & Biases (WANDB_MODE=offline keeps it here)
WANDB ?=
## rows, values and seeds of many runs: @grids, or a YAML file
GRID ?= methods
## a grid's cells, or a sweep's trials, at once
JOBS ?=
## hyper-parameters to search for: @sweeps, or a YAML file of W&B's
SWEEP ?= stylize
## how many trials a sweep without an account makes
TRIALS ?=
## further options of the command (ARGS=--help lists them); train also takes those of fit: ARGS="--trainer.max_epochs=3"
ARGS ?=

# The paper's: a grid each.
PAPER := table2 table3 table4 table5 table6 figure3 figure5 figure6 figure7 figure8

.DEFAULT_GOAL := help
.PHONY: help setup train evaluate analyse predict figure curves grid $(PAPER) sweep import-weights export pack card peers demo \
	test test-slow lint bench bench-training soak doctor docs pictures

names = $(sort $(foreach name,$(basename $(notdir $(wildcard $(1)/*.yaml))),$(if $(findstring .,$(name)),,$(name))))
# Truth as people write it; anything else is refused rather than taken for one of them.
flag = $(if $(strip $($(1))),$(if $(filter $(TRUE),$(strip $($(1)))),--$(2),$(if $(filter $(FALSE),$(strip $($(1)))),,$(error \
	$(1)=$($(1)) is not understood: give $(1)=1, or leave it out))))
TRUE := 1 yes Yes YES y Y true True TRUE t on On ON
FALSE := 0 no No NO n N false False FALSE f off Off OFF
# A variable that no recipe reads would be dropped in silence.
VARIABLES := PYTHON VENV SETTING METHOD LANDMARKER PROFILE DATA SOURCE TARGET TEST SEED RESUME EMA WANDB GRID JOBS SWEEP TRIALS \
	ARGS CKPT OUT OF INPUT DETECTOR OVERWRITE PHOTO STYLISED RUNS FROM TO PRECISION IMAGES NAME MADE_BY TRAINED_ON WEIGHTS \
	PEERS BESIDE SHELL BIN RUN
# They reach the program in its environment.
OF_OTHERS := MAKE% -% WANDB_% CUDA_% OMP_% GOMP_% MKL_% KMP_% NCCL_% TORCH_% PYTORCH_% PL_% HF_% PYTHON% UV_% PIP_% SLURM_% \
	MALLOC_% LC_% LANG PATH HOME TMPDIR XDG_%
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unknown := $(filter-out $(VARIABLES) $(OF_OTHERS),$(given))
nearest = $(shell $(PYTHON) -c 'import difflib, sys; name, *known = sys.argv[1:]; \
	print(*("Did you mean %s?" % one for one in difflib.get_close_matches(name.upper(), known, 1, 0.5)))' \
	'$(firstword $(unknown))' $(filter-out SHELL BIN RUN,$(VARIABLES)))
$(if $(unknown),$(error $(firstword $(unknown)) is no variable of this Makefile. $(nearest) `make help` lists them))
# The shell reads values from the environment, where make puts them: any text may stand in them, quotes too.
option = $(if $(value $(1)),--$(2) "$$$(1)")
export SETTING PROFILE SEED GRID SWEEP
# A grid has a profile of its own: PROFILE counts where it was given, not by its default above.
of_grid = $(if $(filter-out file,$(origin PROFILE)),$(call option,PROFILE,profile)) $(call option,OUT,out) \
	$(call option,JOBS,jobs) $(ARGS)
folders = $(call option,DATA,data) $(call option,SOURCE,source) $(call option,TARGET,target) $(call option,TEST,test)

help: ## this
	@awk '/^## / { doc = substr($$0, 4); next } \
		/^[A-Z]+ [?]=/ && doc { vars = vars sprintf("  %-12s %s\n", $$1, doc) } { doc = "" } \
		/^#: / { print "make " substr($$0, 4) } \
		/^[a-z-]+:.*## / { split($$0, part, ":.*## "); printf "make %-15s %s\n", part[1], part[2] } \
		END { printf "\n%s", vars; \
			print "\nFor example:"; \
			print "  make predict INPUT=drawings                                   landmarks on pictures, with the weights that ship"; \
			print "  make train SETTING=own SOURCE=photos TARGET=drawings          adapt to a style of your own"; \
			print "  make train SETTING=gzsl_artiface METHOD=stylize DATA=ROOT     the paper\047s data, another method"; \
			print "docs/ says more (make docs: as a site); make doctor says what is installed." }' $(MAKEFILE_LIST) \
	| sed -e 's/@settings/$(call names,configs/settings)/' -e 's/@methods/$(call names,configs/methods)/' \
		-e 's/@landmarkers/$(call names,configs/landmarkers)/' -e 's/@profiles/$(call names,configs/profiles)/' \
		-e 's/@grids/$(call names,experiments/grids)/' -e 's/@sweeps/$(call names,experiments/sweeps)/'

# Installs this project with the extras $(1), after making the environment if there is none.
install = @if command -v uv >/dev/null 2>&1; then \
		{ [ -x $(BIN)/python ] || uv venv --quiet --python "$(PYTHON)" $(VENV); } && \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[$(1)]"; \
	else \
		{ [ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV); } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(1)]"; \
	fi

# The stamp is newer than what it was made from exactly when the environment is up to date.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(call install,dev)
	@touch $@

# Extras that only some commands need.
$(VENV)/.predict $(VENV)/.demo $(VENV)/.docs: $(VENV)/.%: $(VENV)/.ready
	$(call install,$*)
	@touch $@

setup: $(VENV)/.ready ## a virtual environment in .venv with everything (again: nothing to do)

train: setup ## pretrain, adapt, test: SETTING METHOD LANDMARKER PROFILE SEED, DATA or SOURCE TARGET TEST, RESUME EMA WANDB
	@$(RUN) train --setting "$$SETTING" --profile "$$PROFILE" --seed "$$SEED" $(call option,METHOD,method) \
		$(call option,LANDMARKER,landmarker) $(folders) $(call flag,RESUME,resume) $(call flag,EMA,ema) \
		$(call flag,WANDB,wandb) $(ARGS)

evaluate: setup ## score a checkpoint (or the shipped weights) on labelled faces: TEST=folder [CKPT=…] [OUT=metrics.json]
	@$(if $(TEST),,$(error TEST is not set: make evaluate TEST=folder [CKPT=runs/…/last.ckpt]))
	@$(RUN) evaluate $(call option,CKPT,ckpt) $(call option,TEST,test) $(call option,OUT,out) $(ARGS)

analyse: setup ## where landmarkers err, as plots and faces: [OF="runs/… x.onnx"] TEST=folder, or DATA [SETTING], [OUT=analysis]
	@$(RUN) analyse $(if $(OF),--of $(OF)) $(if $(TEST),$(call option,TEST,test),$(call option,DATA,data)) \
		--setting "$$SETTING" $(call option,OUT,out) $(ARGS)

predict: $(VENV)/.predict ## landmarks on pictures: INPUT=image|folder|video|camera [CKPT=…] [OUT=predictions] [DETECTOR=…] [OVERWRITE=1]
	@$(if $(value INPUT),,$(error INPUT is not set: make predict INPUT=image, folder, video or camera [OUT=predictions]))
	@$(RUN) predict $(call option,INPUT,input) $(call option,CKPT,ckpt) $(call option,OUT,out) \
		$(call option,DETECTOR,detector) $(call flag,OVERWRITE,overwrite) $(ARGS)

figure: setup ## a photo warped onto a stylised face: PHOTO=photo.jpg STYLISED=face.png [CKPT=…] [OUT=figure.png]
	@$(if $(and $(PHOTO),$(STYLISED)),,$(error PHOTO and STYLISED are not both set: make figure PHOTO=photo.jpg STYLISED=face.png))
	@$(RUN) figure $(call option,PHOTO,photo) $(call option,STYLISED,stylised) $(call option,CKPT,ckpt) \
		$(call option,OUT,out) $(ARGS)

curves: setup ## NME over the epochs of runs: RUNS="runs/… runs/…" [OUT=curves.png]
	@$(if $(RUNS),,$(error RUNS is not set: make curves RUNS="runs/… runs/…" [OUT=curves.png]))
	@$(RUN) curves $(RUNS) $(call option,OUT,out) $(ARGS)

grid: setup ## many runs and their table: GRID, DATA or SOURCE TARGET TEST, [PROFILE=smoke] [JOBS=2] [OUT=folder]
	@$(RUN) grid "$$GRID" $(folders) $(of_grid)

#: table2 … table6 the paper's tables, its values beside ours: DATA [PROFILE=smoke|quick|paper] [JOBS=2] [OUT=folder]
#: figure3, 5 … 8  the paper's figures, likewise
$(PAPER): setup
	@$(RUN) grid $@ $(folders) $(of_grid)

sweep: setup ## a search for hyper-parameters, by W&B or on this machine: SWEEP [DATA=root] [TRIALS=20] [JOBS=1] [OUT=folder]
	@$(RUN) sweep "$$SWEEP" $(call option,DATA,data) $(call option,TRIALS,trials) $(call option,JOBS,jobs) \
		$(call option,OUT,out) $(ARGS)

import-weights: setup ## published weights under our names: LANDMARKER=star FROM=file [TO=file]
	@$(if $(FROM),,$(error FROM is not set: make import-weights LANDMARKER=slpt FROM=file [TO=file]))
	@$(RUN) import-weights --landmarker "$${LANDMARKER:-slpt}" $(call option,FROM,from) $(call option,TO,to) $(ARGS)

export: setup ## an ONNX file, checked: [CKPT=…] [OUT=model.onnx] [PRECISION=fp32|fp16|int8] [IMAGES=folder]
	@$(RUN) export $(call option,CKPT,ckpt) $(call option,OUT,out) $(call option,PRECISION,precision) \
		$(call option,IMAGES,images) $(ARGS)

pack: setup ## weights to ship, from a checkpoint: CKPT=… NAME=… MADE_BY="make train …" TRAINED_ON="…" [OUT=…]
	@$(if $(and $(CKPT),$(NAME),$(value MADE_BY),$(value TRAINED_ON)),,$(error CKPT, NAME, MADE_BY and TRAINED_ON are not all set: \
		make pack CKPT=runs/…/last.ckpt NAME=warpmark-light MADE_BY="make train …" TRAINED_ON="2,012 photos of 300W"))
	@$(RUN) pack $(call option,CKPT,ckpt) $(call option,NAME,name) $(call option,MADE_BY,made-by) \
		$(call option,TRAINED_ON,trained-on) $(call option,OUT,out) $(ARGS)

card: setup ## measure shipped weights and write their card's figures: DATA=root [WEIGHTS=warpmark-light]
	@$(if $(DATA),,$(error DATA is not set: make card DATA=folder with 300W/, CariFace_dataset/, AF_dataset/))
	@$(RUN) card $(call option,DATA,data) $(call option,WEIGHTS,weights) $(ARGS)

peers: setup ## other people's landmarkers side by side: DATA=root [PEERS=folder] [BESIDE="runs/…/last.ckpt …"] [OUT=folder]
	@$(if $(DATA),,$(error DATA is not set: make peers DATA=folder with 300W/, CariFace_dataset/, AF_dataset/))
	@$(RUN) peers $(call option,DATA,data) $(call option,PEERS,peers) $(if $(BESIDE),--beside $(BESIDE)) \
		$(call option,OUT,out) $(ARGS)

demo: $(VENV)/.demo ## a page in the browser: landmarks, a photo warped onto a drawing: [CKPT="one or two"] [ARGS="--port 8000"]
	@$(RUN) demo $(if $(CKPT),--ckpt $(CKPT)) $(ARGS)

test: setup ## pass the tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: setup ## pass those that kill, resume and train whole runs
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m slow $(ARGS)

doctor: setup ## versions, devices, what is installed, whether the shipped weights load: [ARGS=--json]
	@$(RUN) doctor $(ARGS)

docs: $(VENV)/.docs ## the documentation as a site, in site/ (open site/index.html)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict && echo "wrote site/index.html"

pictures: $(VENV)/.predict ## the pictures of README and docs, made anew
	@PYTHONPATH=. $(BIN)/python docs/pictures.py

lint: setup ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(VENV)/.predict ## speed and memory of the warp, of the landmarkers and of prediction
	@$(RUN) bench-warp
	@$(RUN) bench-landmarkers $(ARGS)
	@$(RUN) bench-predict
	@$(RUN) bench-training --faces 16 --pixels 320 --steps 2 --rounds 2 --scaling 4 16

bench-training: setup ## our training beside the published program's loop: [PROFILE=paper] [DATA=root] [OUT=folder]
	@$(RUN) bench-training --profile "$$PROFILE" $(call option,DATA,data) $(call option,OUT,out) $(ARGS)

soak: setup ## 200 short random runs, each killed up to five times and gone on with, must end as if never stopped [SEED=0] [OUT=folder]
	@$(RUN) bench-soak --seed "$$SEED" $(call option,OUT,out) $(ARGS)
