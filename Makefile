.DEFAULT_GOAL := help
.PHONY: help setup setup-lab setup-test demo test lint unit integration molecule chaos lab-up lab-down plan verify wheel

# Each target is one plain command that works without make too.
bin := .venv/bin

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Install what a controller needs: Python packages in .venv, as they are locked, ssh and git
	scripts/setup

setup-lab:  ## Beside it what the lab needs
	scripts/setup lab

setup-test:  ## Beside it what the tests need
	scripts/setup test

demo:  ## From nothing to a fleet at work on this machine: six hosts, site.yml, verify, demo tasks
	scripts/demo

test:  ## All tests: lint, unit on each ansible-core, every molecule scenario
	scripts/test

lint:  ## Style and types of Python, YAML and playbooks
	scripts/test lint

unit:  ## Unit and template tests on each ansible-core that the machine can run
	scripts/test unit

integration:  ## Workers and publishers of this machine at a real broker
	scripts/test integration

molecule:  ## Every scenario on real systemd hosts, the broker's with the integration tests
	scripts/test molecule

chaos: setup-test  ## From nothing: 20 minutes or 100 000 tasks under every verb and fault, with a report (docs/measured/chaos.md)
	scripts/run trials.chaos --up

lab-up: setup-lab  ## Create the lab, or bring it up to date
	$(bin)/ansible-playbook playbooks/lab_create.yml -i lab

lab-down: setup-lab  ## Remove the lab's hosts
	$(bin)/ansible-playbook playbooks/lab_destroy.yml -i lab

plan: setup  ## Show what would run where on the lab, and why
	$(bin)/ansible-playbook playbooks/plan.yml -i lab

wheel: setup  ## Build the package celery_fleet for machines that the kit does not manage, into dist/
	$(bin)/uv build --wheel --quiet --out-dir dist

verify: setup  ## Send a canary through every queue of the lab
	$(bin)/ansible-playbook playbooks/verify.yml -i lab
