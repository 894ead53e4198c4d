# Each target sets everything up first (scripts/setup.sh) and may be run again at any time.
SHELL := /bin/bash
READY := .venv/ready

.PHONY: help setup demo test bench bench-picking bench-bootstrap screenshots bootstrap-pictures clean

help:
	@echo 'make demo [DATA=folder]   the whole workflow on simulated micrographs, or on yours;'
	@echo '                          ARGS="--diameter 180" passes options on'
	@echo 'make test                 all checks and tests'
	@echo 'make bench                memory, reading, the workflow and more, for docs/benchmarks.md'
	@echo 'make bench-picking        picking beside other pickers, into benchmarks/picking.json and docs/benchmarks.md;'
	@echo '                          ARGS="--only accuracy timing" passes options on'
	@echo 'make bench-bootstrap      a start without labels, into benchmarks/bootstrap.json and docs/benchmarks.md;'
	@echo '                          ARGS="--only detection pictures" passes options on'
	@echo 'make screenshots [DATA=folder]  the pictures of docs/, or the same of your micrographs in screenshots/'
	@echo 'make bootstrap-pictures   the pictures of docs/bootstrap.md'
	@echo 'make clean                remove what these have made'

setup: $(READY)

$(READY): setup.py apbc/__init__.py scripts/setup.sh scripts/env.sh
	scripts/setup.sh

demo: $(READY)
	. scripts/env.sh && python -m apbc_scipion.demo --out demo $(if $(DATA),--data '$(DATA)') $(ARGS)

test: $(READY)
	scripts/test.sh

bench: $(READY)
	. scripts/env.sh && python benchmarks/run.py

bench-picking: $(READY)
	. scripts/env.sh && python benchmarks/picking.py $(ARGS)

bench-bootstrap: $(READY)
	. scripts/env.sh && python benchmarks/bootstrap.py $(ARGS)

screenshots: $(READY)
	. scripts/env.sh && python scripts/screenshots.py $(if $(DATA),--data '$(DATA)') $(if $(ARGS),-- $(ARGS))

bootstrap-pictures: $(READY)
	. scripts/env.sh && python scripts/bootstrap_pictures.py $(ARGS)

clean:
	rm -rf screenshots .venv .scipion demo bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
