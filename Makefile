# JDAP: `make` lists what there is. Everything installs into .venv by itself.
PYTHON ?= python3
# The torch that is installed: a version, or "system" to keep the one that $(PYTHON) already has.
TORCH  ?= 2.13.0
# cpu, cuda …; empty: what the machine has, for benchmarks, and the CPU for preparation.
DEVICE ?=
ARGS   ?=

# A folder of shards, or one with train/, val/ and test/ inside.
SHARDS ?= jdap/assets/shards
TRAIN   = $(if $(wildcard $(SHARDS)/train),$(SHARDS)/train,$(SHARDS))
# Held-out people with true depth: of the folder if it has them, else the sample shards that ship.
VAL    ?= $(if $(wildcard $(SHARDS)/val),$(SHARDS)/val,jdap/assets/shards/val)
TEST   ?= $(if $(wildcard $(SHARDS)/test),$(SHARDS)/test,jdap/assets/shards/test)

RUN = .venv/bin/python -m

.DEFAULT_GOAL := help
.PHONY: help install lint test test-all docs train-image train-video train-depth train-codec parser bench gpu shards studio personal sample-shards shipped-weights clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: .venv/installed  ## make .venv and install into it (TORCH=2.13.0, or TORCH=system)

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(if $(filter system,$(TORCH)),--system-site-packages) .venv
	$(if $(filter system,$(TORCH)),,.venv/bin/pip install --disable-pip-version-check -q torch==$(TORCH))
	.venv/bin/pip install --disable-pip-version-check -q -e ".[dev]"
	@touch $@

lint: install  ## ruff and mypy
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

# How many processes run the tests, a thread each.
WORKERS ?= 2
PYTEST = $(RUN) pytest -n $(WORKERS) --dist worksteal --durations=25
test: install  ## the tests but for slow ones, a few minutes on two cores (WORKERS= ARGS=)
	$(PYTEST) -m "not slow" $(ARGS)

test-all: install  ## all tests (WORKERS= ARGS=)
	$(PYTEST) $(ARGS)

docs: install  ## the API pages, into out/api
	$(RUN) sphinx -b html -W --keep-going docs/api out/api
	@echo 'look at out/api/index.html'

# From nothing it is the quick network, on the sample shards as latents that are made first. SHARDS= of one's own are encoded
# as they are read, and with --model.init or --config in ARGS it is what those say.
train-image: OUT ?= out/image
train-image: QUICK = $(if $(findstring --model.init,$(ARGS))$(findstring --config,$(ARGS)),,y)
train-image: LATENTS = $(if $(QUICK),$(if $(filter file,$(origin SHARDS)),$(OUT)/latents))
train-image: install  ## train the joint RGB-depth model, print its depth table, draw people (SHARDS= OUT= ARGS=)
	$(if $(LATENTS),$(RUN) jdap cache-latents --shards $(TRAIN) --codec shipped:image-tiny/codec --out $(LATENTS) --flip --variants 2 --jitter 0.2 --zoom 0.1)
	$(RUN) jdap train-image $(if $(QUICK),--config jdap/configs/image-tiny.yaml --config jdap/configs/image-quick.yaml) \
	  --out $(OUT) --data.train $(or $(LATENTS),$(TRAIN)) --data.val $(VAL) $(ARGS)
	$(RUN) benchmarks depth --weights $(OUT)/weights --shards $(TEST) --out $(OUT) $(if $(DEVICE),--device $(DEVICE))
	$(RUN) benchmarks modes --weights $(OUT)/weights --shards $(VAL) --questions depth-to-image,joint --limit 12 \
	  --out $(OUT) $(if $(DEVICE),--device $(DEVICE))

# Clips that talk: a folder of shards with sound, or one with train/ and val/ inside.
CLIPS ?= jdap/assets/talking
CLIPS_TRAIN = $(if $(wildcard $(CLIPS)/train),$(CLIPS)/train,$(CLIPS))
CLIPS_VAL   = $(if $(wildcard $(CLIPS)/val),$(CLIPS)/val,jdap/assets/talking/val)
# Latents of the clips that ship are made first, in two or three minutes. CLIPS= of one's own are encoded as they are read;
# `jdap cache-latents --clips` makes latents of them, too.
train-video: OUT ?= out/video
train-video: WEIGHTS ?= shipped:image-tiny
train-video: LATENTS = $(if $(filter file,$(origin CLIPS)),$(OUT)/latents)
train-video: install  ## train a portrait that talks, on an image model, and let one talk (WEIGHTS= CLIPS= OUT= ARGS=)
	$(if $(LATENTS),$(RUN) jdap cache-latents --clips --shards $(CLIPS_TRAIN) --codec $(WEIGHTS)/codec --out $(LATENTS) --flip --variants 2 --jitter 0.1)
	$(RUN) jdap train-video --out $(OUT) --model.init $(WEIGHTS) --data.train $(or $(LATENTS),$(CLIPS_TRAIN)) --data.val $(CLIPS_VAL) $(ARGS)
	$(RUN) jdap talk jdap/assets/talk/portrait.png jdap/assets/talk/speech.wav -o $(OUT)/talk.mp4 --weights $(OUT)/weights \
	  --no-crop $(if $(DEVICE),--device $(DEVICE))

train-depth: OUT ?= out/depth
train-depth: WEIGHTS ?= $(if $(wildcard out/image/weights),out/image/weights,shipped:image-tiny)
train-depth: HYBRID = --config jdap/configs/depth-tiny.yaml --config jdap/configs/depth-hybrid.yaml \
  --data.train.studio.shards $(TRAIN) --data.train.fitted.shards $(OUT)/photos
train-depth: install  ## fine-tune an image model to depth in one step, then print its depth table (WEIGHTS= SHARDS= PHOTOS= OUT= ARGS=)
	$(if $(PHOTOS),$(RUN) data_prep photos $(PHOTOS) --out $(OUT)/photos --size 128 $(if $(DEVICE),--device $(DEVICE)))
	$(RUN) jdap train-depth $(if $(PHOTOS),$(HYBRID),--data.train $(TRAIN)) --out $(OUT) --model.init $(WEIGHTS) --data.val $(VAL) $(ARGS)
	$(RUN) benchmarks depth --weights $(OUT)/weights --shards $(TEST) --out $(OUT) $(if $(DEVICE),--device $(DEVICE))

# One person: videos (VIDEO=), or a folder of shards (SHARDS=), are parted by time; the person's latents and those of drawn
# people are cached; an image model is fine-tuned to them, and draws the frames that were kept aside.
personal: OUT ?= out/personal
personal: WEIGHTS ?= shipped:image-tiny
personal: PRESET ?= tiny
personal: SIZE ?= 128
personal: TIME ?= 00:00:15:00
personal: DRAWN ?= shipped:shards/train
personal: CLIPS_OF_ONE = $(if $(VIDEO),$(OUT)/clips,$(if $(filter file,$(origin SHARDS)),,$(SHARDS)))
personal: CACHE = cache-latents --codec $(WEIGHTS)/codec --size $(SIZE) --flip $(if $(DEVICE),--device $(DEVICE))
personal: install  ## fine-tune an image model to one person, and draw frames kept aside (VIDEO= or SHARDS=, TIME= WEIGHTS= OUT= ARGS=)
	@test -n "$(CLIPS_OF_ONE)" || { echo 'error: name videos or a folder of shards: make personal VIDEO=me.mp4'; exit 2; }
	$(if $(VIDEO),$(RUN) data_prep prepare $(VIDEO) --out $(OUT)/clips --size $(SIZE) --faces single $(if $(DEVICE),--device $(DEVICE)))
	$(RUN) data_prep hold-out $(CLIPS_OF_ONE) --out $(OUT)/shards
	$(RUN) jdap $(CACHE) --shards $(OUT)/shards/train --out $(OUT)/latents/person --variants 4 --jitter 0.1 --zoom 0.1
	$(RUN) jdap $(CACHE) --shards $(DRAWN) --out $(OUT)/latents/drawn
	$(RUN) jdap train-image --config jdap/configs/image-$(PRESET).yaml --config jdap/configs/personal-$(PRESET).yaml --out $(OUT) \
	  --model.init $(WEIGHTS) --trainer.max_time $(TIME) --data.val $(OUT)/shards/test \
	  --data.train.person.shards $(OUT)/latents/person --data.train.drawn.shards $(OUT)/latents/drawn $(ARGS)
	$(RUN) benchmarks personal --weights $(OUT)/weights --before $(WEIGHTS) --shards $(OUT)/shards/test \
	  --reference $(OUT)/shards/train --out $(OUT) $(if $(DEVICE),--device $(DEVICE))

train-codec: OUT ?= out/codec
train-codec: install  ## train the image codec of preset tiny (SHARDS= OUT= ARGS=)
	$(RUN) jdap train-codec --out $(OUT) --data.train $(TRAIN) --data.val $(VAL) $(ARGS)

# It may be ended after MINUTES and started again: drawing and training go on.
MINUTES ?= 60
parser: OUT ?= out/parser
parser: install  ## train the parser of heads on the studio's people, and measure it (OUT= MINUTES= ARGS=)
	$(RUN) benchmarks parser --out $(OUT) --minutes $(MINUTES) --masked-people 64 $(ARGS)

# What ships, measured: sized for a quarter of an hour of two free cores (not timed yet). Of sittings drawn here and
# nowhere else (people from 0 of the split test; clips from 3000), and of the stills that ship.
bench: OUT ?= out/bench
bench: WEIGHTS ?= shipped:image-tiny
bench: TALK ?= shipped:talk-tiny
bench: ON = $(if $(DEVICE),--device $(DEVICE))
bench: install  ## measure the weights that ship, and make one page of it (WEIGHTS= TALK= OUT= ARGS="--readme README.md")
	$(RUN) data_prep studio --out $(OUT)/sittings --sittings --split test --people 60 --frames 2 --mean-head --workers 2
	$(RUN) data_prep studio --out $(OUT)/clips --talk --split test --first 3000 --people 12 --frames 96 --workers 2
	$(RUN) benchmarks depth --weights $(WEIGHTS) --shards $(TEST) --out $(OUT)/depth $(ON)
	$(RUN) benchmarks modes --weights $(WEIGHTS) --shards $(OUT)/sittings --out $(OUT)/modes $(ON)
	$(RUN) benchmarks audit --weights $(WEIGHTS) --shards $(TEST) --steps 10 --out $(OUT)/audit $(ON)
	$(RUN) benchmarks lipsync --weights talk=$(TALK) --shards $(OUT)/clips --steps 8 --out $(OUT)/lipsync $(ON)
	$(RUN) benchmarks report $(OUT) --out $(OUT)/report.html $(ARGS)
	@echo 'look at $(OUT)/report.html'

gpu: OUT ?= out/gpu
gpu: install  ## everything that docs/gpu.md asks of a GPU, in nine minutes (OUT= DEVICE= ARGS="--docs docs/gpu.md")
	$(RUN) benchmarks gpu --out $(OUT) $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

shards: OUT ?= out/shards
shards: install  ## videos of faces to shards with fitted depth (VIDEOS= OUT= DEVICE= ARGS=)
	@test -n "$(VIDEOS)" || { echo 'error: name the videos or their folder: make shards VIDEOS=…'; exit 2; }
	$(RUN) data_prep prepare $(VIDEOS) --out $(OUT) $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

studio: OUT ?= out/studio
studio: install  ## drawn people with exact depth to shards (OUT= ARGS="--people 100 --frames 2 --size 128 --seed 0")
	$(RUN) data_prep studio --out $(OUT) $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

sample-shards: OUT ?= jdap/assets
sample-shards: install  ## draw the stills and talking clips that ship anew (into OUT=, which must not hold them already)
	$(RUN) data_prep studio --out $(OUT)/shards/train --split train --people 150 --frames 4 --sittings --depth-step-mm 0.5
	$(RUN) data_prep studio --out $(OUT)/shards/val --split val --people 24 --frames 2 --sittings
	$(RUN) data_prep studio --out $(OUT)/shards/test --split test --people 100 --frames 2 --mean-head
	$(RUN) data_prep studio --out $(OUT)/talking/train --split train --first 500 --people 28 --frames 32 --talk --depth-step-mm 0.5
	$(RUN) data_prep studio --out $(OUT)/talking/val --split val --first 24 --people 3 --frames 32 --talk
	$(RUN) data_prep studio --out $(OUT)/talking/test --split test --first 100 --people 5 --frames 32 --talk

# Hours, and as many sittings of the machine as they take: what is whole is left alone, what was interrupted goes on.
# The people of the training set begin at 6000: none of them is in the sample shards. Open-ended training on latents comes
# first (STEPS), then a last stretch on pictures in which the rate falls (LAST), and packing.
STEPS ?= 100000
LAST  ?= 10000
shipped-weights: OUT ?= out/shipped
shipped-weights: IMAGE = jdap train-image --config jdap/configs/image-tiny.yaml --config jdap/configs/image-tiny-long.yaml
shipped-weights: install  ## make codec and image model as they ship, from nothing: hours, resumable (OUT= STEPS= LAST= ARGS=)
	$(RUN) data_prep studio --out $(OUT)/val --split val --first 200 --people 40 --frames 2 --sittings
	$(RUN) data_prep studio --out $(OUT)/sittings --split train --first 6000 --people 1200 --frames 8 --sittings --workers 2
	test -e $(OUT)/codec/weights || $(RUN) jdap train-codec --out $(OUT)/codec --resume auto --data.train $(OUT)/sittings --data.val $(OUT)/val --trainer.max_steps 12000
	$(RUN) jdap cache-latents --shards $(OUT)/sittings --codec $(OUT)/codec/weights --out $(OUT)/latents --flip --variants 2 --jitter 0.2 --zoom 0.1
	test -e $(OUT)/image/weights || $(RUN) $(IMAGE) --out $(OUT)/image --resume auto --model.codec $(OUT)/codec/weights \
	  --data.train $(OUT)/latents --data.val $(OUT)/val --trainer.max_steps $(STEPS) $(ARGS)
	test -e $(OUT)/last/weights || $(RUN) $(IMAGE) --config jdap/configs/image-last.yaml --out $(OUT)/last --resume auto --model.init $(OUT)/image/weights \
	  --data.train $(OUT)/sittings --data.val $(OUT)/val --trainer.max_steps $(LAST) $(ARGS)
	$(RUN) data_prep studio --out $(OUT)/heads --split train --first 21000 --people 400 --frames 4 --mean-head
	$(RUN) data_prep studio --out $(OUT)/heads-val --split val --people 24 --frames 2 --mean-head
	test -e $(OUT)/head/weights || $(RUN) jdap train-depth --config jdap/configs/depth-tiny.yaml --config jdap/configs/depth-head.yaml \
	  --out $(OUT)/head --resume auto --model.init $(OUT)/last/weights --data.train $(OUT)/heads --data.val $(OUT)/heads-val
	test -e $(OUT)/likeness/weights || $(RUN) benchmarks likeness --weights $(OUT)/head/weights --shards $(OUT)/sittings --minutes 600 --out $(OUT)/likeness
	$(RUN) jdap pack $(OUT)/likeness/weights --half --lean --out $(OUT)/image-tiny
	$(RUN) benchmarks modes --weights $(OUT)/image-tiny --shards $(OUT)/val --out $(OUT)/modes

clean:  ## remove what runs have written
	rm -rf out
