"""Lookup that renders what each pool of a host is to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.worker import worker
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import NUMBER, Node
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain

DOCUMENTATION = r"""
name: workers
author: celery-fleet
version_added: 0.1.0
short_description: What each pool of a host is to run
description:
  - Renders the templates of the role P(celery_fleet.kit.worker#role) for each pool, and puts their texts
    together with what else the module M(celery_fleet.kit.worker_instances) needs.
options:
  _terms:
    description: The pools of what the filter P(celery_fleet.kit.host_plan#filter) returns.
    required: true
  release:
    description: Name of the release.
    type: str
    required: true
  reads:
    description: For each pool a digest of what its worker reads from C(fleet.json).
    type: dict
    required: true
"""

EXAMPLES = r"""
- celery_fleet.kit.worker_instances:
    pools: "{{ lookup('celery_fleet.kit.workers', pools, release='demo-1', reads=worker_digests) }}"
    timeout: 90
"""

RETURN = r"""
_raw:
  description: For each pool its C(release), C(digest), C(rollover), C(figures), C(unit) and C(slice).
  type: list
  elements: dict
"""

TEMPLATES: Final = Path(__file__).resolve().parents[2] / "roles/worker/templates"


class LookupModule(LookupBase):
    """Renders the unit and the slice of each pool."""

    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **options: object
    ) -> list[dict[str, Any]]:
        """Return what the pools of each term are to run."""
        self.set_options(var_options=variables, direct=options)
        template = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        files = [str(TEMPLATES / name) for name in ("worker.service.j2", "worker.slice.j2")]
        release, reads = plain(self.get_option("release")), plain(self.get_option("reads"))

        def one(pool: Mapping[str, Any]) -> dict[str, Any]:
            node = Node.parse(pool["node"])
            unit, slice_text = template.run(
                files,
                variables,
                template_vars={"__worker_pool": pool, "__worker_node": str(node and node.numbered(NUMBER))},
            )
            rendered: dict[str, Any] = worker(
                pool, release, reads[pool["name"]], plain(unit), plain(slice_text)
            )
            return rendered

        return [{name: one(pool) for name, pool in plain(pools).items()} for pools in terms]
