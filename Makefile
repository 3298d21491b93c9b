# Everything a machine with Python 3.11 (or newer) and make can do with Rollcall.

PYTHON ?= python3
VENV := .venv/bin

.PHONY: help run deployed test fuzz soak bench faults check format messages lock audit \
	images clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

run: .venv/embedded ## Install what is missing, and start the chat
	@$(VENV)/python manage.py serve

deployed: .venv/dev ## Start it as on a server: Nginx, 3 processes, Redis, PostgreSQL
	@$(VENV)/python -m tests.support.deployment

test: .venv/dev ## Run all tests
	$(VENV)/python -m pytest

fuzz: .venv/dev ## Send a million odd frames to a server; look for what is slow to render
	$(VENV)/python -m tests.lab.fuzz

soak: .venv/dev ## Have people come and go for ten minutes; tell what the server keeps
	$(VENV)/python -m tests.lab.soak

bench: .venv/bench ## Measure it beside its rivals, and write docs/BENCHMARKS.md
	$(VENV)/python -m tests.lab.bench

faults: .venv/dev ## Hurt the deployed system for an hour, and look for lost words
	$(VENV)/python -m tests.lab.faults $(FAULTS)

check: .venv/dev ## Look for faults without running anything
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/mypy

format: .venv/dev ## Bring the code into the house's form
	$(VENV)/ruff format
	$(VENV)/ruff check --fix

PO := locale/ru/LC_MESSAGES/django.po
messages: .venv/dev ## Gather the words to translate, and compile them (takes GNU gettext)
	$(VENV)/python manage.py makemessages --locale ru --ignore .venv --ignore var \
		--ignore tests --add-location file --no-wrap --no-obsolete
	@sed -i.old '/^"POT-Creation-Date:/d' $(PO) && rm $(PO).old
	$(VENV)/python manage.py compilemessages --locale ru --ignore .venv --ignore var

lock: .venv/audit ## Pin what requirements/*.txt allow, with hashes (UPGRADE=1: the newest)
	@for name in bench audit dev embedded base; do \
		$(VENV)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
			--generate-hashes --fork-strategy fewest --no-header --no-strip-extras \
			$(UPGRADE:1=--upgrade) \
			$$(test $$name = bench || echo --constraints requirements/bench.lock) \
			requirements/$$name.txt --output-file requirements/$$name.lock || exit; \
	done

audit: .venv/audit ## Look for known faults in what is installed; list it in var/sbom.json
	@$(VENV)/python requirements/audit.py

images: ## Pin the images of the containers by digest (takes docker)
	@$(PYTHON) deploy/pin_images.py

clean: ## Remove what can be made again; var/ with the data stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Empty files that tell when the requirements were installed.
.venv/embedded .venv/dev .venv/bench .venv/audit: .venv/%: requirements/%.lock | $(VENV)/python
	@echo "Installing requirements/$(@F).lock …"
	@$(VENV)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements/$(@F).lock
	@touch $@

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Rollcall needs Python 3.11 or newer: make PYTHON=python3.11 run" >&2; false; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; false; }
