# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHONS := 3.11 3.12 3.13
VENV := .venv
BIN := $(VENV)/bin
COLLECTIONS := .collections
HERE := $(COLLECTIONS)/ansible_collections/virtops/guest_agent
RUN := ANSIBLE_HOME="$(CURDIR)/.cache/ansible" PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/$(COLLECTIONS)"
SCRIPTS := .ci/run $(shell grep -rlE '^\#!.*\bbash' tests/tools tests/lab/images)

##@ The two you came for

.PHONY: demo
demo: system venv-run collections ## boot a few real guests and show the collection at work (installs what is missing)
	$(RUN) python -m tests.lab.demo

# Cheap checks first, so that a typing error does not cost the minutes that guests take to boot. Then two at a time, each in
# a lab of its own: a test waits for its guest for half of its time. The longest come first.
.PHONY: test
test: ## what CI runs: lint, unit, sanity, molecule and integration on real guests, in their short forms
	$(MAKE) --no-print-directory system venv collections
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory sanity
	$(MAKE) --no-print-directory images
	printf '%s\n' "integration PART=1/2" "integration PART=2/2" molecule-short hypervisor-short faults-short | xargs -P 2 -L 1 tests/tools/apart

##@ Parts of the test

.PHONY: lint lint-python lint-types lint-yaml lint-ansible lint-docs lint-changelog lint-galaxy lint-shell
lint: lint-python lint-types lint-yaml lint-ansible lint-docs lint-changelog lint-galaxy lint-shell ## every linter
lint-python: venv
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --quiet --violations --target=3.6- plugins/module_utils/_inside/resident_program/*.py
lint-types: venv collections
	$(BIN)/mypy
lint-yaml: venv
	$(BIN)/yamllint --strict .
lint-ansible: venv collections
	$(RUN) ansible-lint --offline --profile production
lint-docs: venv collections
	$(RUN) antsibull-docs lint-collection-docs --plugin-docs .
lint-changelog: venv
	$(BIN)/antsibull-changelog lint
lint-galaxy: venv
	$(RUN) tests/tools/galaxy-import
lint-shell: venv
	$(BIN)/shellcheck $(SCRIPTS)

# Each ansible-core apart from the others, two at a time.
APART = xargs -P 2 -L 1 tests/tools/apart

.PHONY: sanity sanity-of
sanity: packages ## ansible-test sanity, every test of the oldest and the newest ansible-core, no ignore file (SANITY=2.19 for another)
	tests/tools/cores $(or $(SANITY),2.16 2.21) | sed 's/^/sanity-of CORE=/' | $(APART)
sanity-of: # CORE=2.21
	tests/tools/sanity $(CORE)

# Where our code meets Ansible's; the other rooms are the same beside each ansible-core. tests/unit/test_matrix.py holds this.
UNIT_ALL := tests/unit
UNIT_DOORS := $(addprefix tests/unit/,roles playbooks test_example_blocks.py \
	$(addprefix plugins/,action connection inventory modules plugin_utils \
	$(addprefix module_utils/,_task _module _reach/test_warm.py _records/test_distribution.py)))

.PHONY: unit unit-of
unit: packages collections ## unit tests on the oldest and the newest ansible-core of the matrix, and those of the doors on each
	tests/tools/cores | sed 's/^/unit-of CORE=/; 1!{$$!s/$$/ PART=DOORS/}' | sort --stable --key 3 | $(APART)
unit-of: # CORE=2.21 PART=DOORS ONLY="-k pace"
	tests/tools/pytest-again .venv-core$(CORE)/bin/python $(UNIT_$(or $(PART),ALL)) -q -rsfE -n 4 $(ONLY)

.PHONY: integration
integration: system venv collections ## tests on real guests, in their short form (PART=1/2 takes half of the files, ONLY="-k frozen" some)
	INTEGRATION_PART=$(PART) $(RUN) tests/tools/pytest-again python tests/integration -q -rsfE --durations=30 $(ONLY)

.PHONY: hypervisor-short
hypervisor-short: system venv collections ## a few of them on the libvirt and QEMU of Debian 13 (HYPERVISOR=testing, DOOR=ssh, DOOR=session for others; make full has all)
	HYPERVISOR=$(if $(DOOR),$(HYPERVISOR),$(or $(HYPERVISOR),debian13)) $(RUN) tests/tools/pytest-again python tests/integration -q -rsfE -m hypervisor

.PHONY: full
full: system browser windows shells rulebook venv cores collections ## the full form of the integration tests (hours): ONLY="-k transfers" takes a part of it
	INTEGRATION=full $(RUN) python -m pytest tests/integration -q -rsfE --durations=30 $(ONLY)

.PHONY: faults faults-short
faults: system venv collections ## faults of every kind, and whatever a hostile agent answers, against everything (ONLY="-k templates" takes a part of it)
	INTEGRATION=full $(RUN) python -m pytest tests/faults -q -rsfE --durations=10 $(ONLY)
faults-short: system venv collections
	$(RUN) tests/tools/pytest-again python tests/faults -q -rsfE --durations=10

.PHONY: fuzz
fuzz: packages collections ## fuzz what an agent may answer and a domain's XML may hold, guided by coverage: two minutes (FUZZ=-runs=100000 for more)
	@tests/tools/venv .venv-fuzz "$(PYTHONS)" -r tests/requirements-fuzz.txt
	.venv-fuzz/bin/python -m tests.fuzz $(FUZZ)

# In the short form is a role that freezes, on tiny guests, and the one that changes most in a guest, on Debian.
.PHONY: molecule molecule-short
molecule: system venv collections ## molecule scenarios of the roles, and the one to copy: ONLY=ssh_trust takes one
	$(RUN) python -m tests.lab run -- tests/tools/molecule $(ONLY)
molecule-short: system venv collections
	$(RUN) python -m tests.lab run -- tests/tools/molecule agent_setup quiesced_snapshot

.PHONY: bench
bench: system venv-run collections ## side by side: connection, modules on a fleet, freeze window, inventory (half an hour, 16 GB)
	@tests/tools/venv .venv-bench "$(PYTHONS)" "ansible>=12,<13" "libvirt-python>=9.0" jmespath
	$(RUN) python -m tests.bench $(BENCH)
	$(RUN) python -m tests.bench.fleet $(FLEET)
	$(RUN) python -m tests.bench.freeze_window $(FREEZE)
	$(RUN) python -m tests.bench.inventory $(INVENTORY)

.PHONY: fleet-simulation
fleet-simulation: venv-run collections ## 10,000 domains on 50 simulated hypervisors: what gathering them costs (SIMULATION=--full for more)
	$(RUN) python -m tests.bench.simulation $(SIMULATION)

.PHONY: bench-inventory
bench-inventory: system venv-run collections ## the inventory beside community.libvirt's and the least that libvirt-python needs
	@tests/tools/venv .venv-bench "$(PYTHONS)" "ansible>=12,<13" "libvirt-python>=9.0" jmespath
	$(RUN) python -m tests.bench.inventory $(INVENTORY)

.PHONY: coverage
coverage: venv collections ## unit tests with branch coverage of the core
	$(RUN) python -m pytest tests/unit -q -n 4 --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

.PHONY: guards
guards: venv collections ## take each guard of the core out in turn: a unit test must miss it (ONLY=plugins/module_utils/_module/push_file.py takes one file)
	$(RUN) python tests/tools/guards.py $(ONLY)

##@ Guests to play with

.PHONY: images lab lab-down
images: system venv-run collections # what guests boot from, and the other Debian that some run on; built once
	$(RUN) python -m tests.lab run -- true
	[ "$$(id -u)" != 0 ] || HYPERVISOR=debian13 $(RUN) python -m tests.lab run -- true
lab: system venv-run collections ## boot three tiny guests and leave them running
	$(RUN) python -m tests.lab up tiny=3
lab-down: venv-run ## stop them
	$(RUN) python -m tests.lab down

##@ The house

.PHONY: venv venv-run cores packages system browser windows shells rulebook collections
venv: venv-run ## .venv with everything a developer needs
	@tests/tools/venv $(VENV) "$(PYTHONS)" -r tests/requirements.txt
venv-run: packages
	@tests/tools/venv $(VENV) "$(PYTHONS)" -r tests/requirements-run.txt
cores: packages
	@tests/tools/cores >/dev/null
packages:
	@tests/tools/system tests/tools/packages.txt
system: packages ## install the Debian packages that are missing
	tests/lab/install.sh
browser: packages
	@tests/tools/system tests/tools/packages-browser.txt
shells: packages
	@tests/tools/system tests/tools/packages-shells.txt
windows: packages
	@tests/tools/system tests/lab/images/windows/packages.txt
rulebook: packages # ansible-rulebook, which wants Java, in an environment of its own
	@tests/tools/system tests/tools/packages-rulebook.txt
	@tests/tools/venv .venv-rulebook "$(PYTHONS)" -r tests/requirements-rulebook.txt
collections: $(HERE) ## .collections, where this checkout is virtops.guest_agent

$(HERE):
	mkdir -p $(@D)
	ln -sfn ../../.. $@

.PHONY: site ee ee-inside build changelog matrix
matrix: venv ## the page of what was tried where, with the rows that test runs have left in tests/output/tested
	$(BIN)/python tests/tools/matrix.py
site: venv collections ## the documentation site, in .cache/site/html: guides, plugins and roles, warnings as errors
	$(RUN) tests/tools/site
ee: system venv collections build ## build an execution environment as the guide says, and run the inventory and plays in it, on a real guest (root)
	@tests/tools/system tests/tools/packages-ee.txt
	@echo "minutes of work; what it prints is in tests/output/ee-inside.log until it has ended"
	tests/tools/apart ee-inside
ee-inside: # in a lab of its own, with its mounts and processes
	$(RUN) python -m pytest tests/ee -q -rsfE --durations=10 $(ONLY)
build: venv ## dist/virtops-guest_agent-VERSION.tar.gz
	$(RUN) ansible-galaxy collection build --force --output-path dist
changelog: venv collections ## release: CHANGELOG.md from changelogs/fragments, for the version in galaxy.yml
	$(RUN) antsibull-changelog release

.PHONY: clean
clean: ## remove everything that a run leaves in the checkout
	rm -rf .ansible .cache $(COLLECTIONS) .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .venv* dist htmlcov tests/output
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
