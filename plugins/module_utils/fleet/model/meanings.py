"""What the variables of a fleet mean, for the reference in the docs."""

from __future__ import annotations

from typing import Final, NamedTuple

# By path; ``<name>`` stands for every name, ``[]`` for every item.
MEANINGS: Final = {
    "fleet_pools": {
        "kind": "What its tasks need most. Prefetch, hints and the refusal of mixed queues go by it.",
        "exchange": "Exchange that its tasks are published to.",
        "exchange_type": "`direct` works too, but loses native delays and publishing with `queue=`.",
        "queue_type": "`classic` is a quarter faster at its peak on one node, but has no delivery limit.",
        "queues": "The queues that it drains; no other pool may have one of them.",
        "queues.<name>.routing_key": "Key that leads from the exchange to the queue.",
        "queues.<name>.max_length": "Tasks that may wait; null: no limit.",
        "queues.<name>.overflow": "As the pool's `overflow`, for this queue alone.",
        "overflow": "A full queue refuses the publisher, or moves its oldest task to the dead letters.",
        "delivery_limit": "Deliveries before a task that kills its workers is dead-lettered (quorum only).",
        "execution": "Celery's execution pool. Only `prefork` enforces every limit.",
        "acknowledgement": "`late`: a task that its worker lost is delivered again; `early`: it is not.",
        "rollover": "In a deploy two releases run side by side, or the new one waits for the old one.",
        "weight": "Share of the host, against the other pools of that host.",
        "concurrency": "Tasks at once; null: derived from the host's cores and memory.",
        "min_concurrency": "With room for fewer than this the host is refused.",
        "max_concurrency": "Upper end of the derived figure; null: as many as fit.",
        "autoscale": "Range of worker processes that grows and shrinks with the backlog.",
        "autoscale.enabled": "Whether the pool scales (`prefork` only).",
        "autoscale.min": "Processes that always run.",
        "autoscale.max": "Most processes; must fit the host.",
        "environment": "Extra environment of its worker processes.",
        "environment.<name>": "Value of the variable. Never shown in a plan or a finding.",
        "demand": "What one running task needs; sizing divides the host by it.",
        "demand.cores": "Cores that one running task keeps busy.",
        "demand.memory_mib": "Memory of one running task with its process.",
        "prefetch_multiplier": "Tasks that a worker holds for each that it can run.",
        "max_tasks_per_child": "Tasks after which a process is replaced by a fresh one.",
        "time_limit": "Hard limit: the task's process is killed. Stop and delivery timeouts follow from it.",
        "soft_time_limit": "The task gets an exception and may clean up; must be below `time_limit`.",
        "eta_horizon": "Longest delay of its tasks where a delayed task is held by a worker.",
        "calls": "Pools that its tasks may publish to beside their own; null: every pool.",
        "calls[]": "Name of a pool.",
    },
    "fleet_reserve": {
        "cores": "Share of every host's cores that no pool plans with.",
        "memory": "Share of every host's memory that no pool plans with.",
    },
    "fleet_routing": {
        "default_queue": "Where a task goes that no rule matches.",
        "periodic_queue": "Where a task of beat goes that no rule matches.",
        "hints": "Queue of each resource hint.",
        "hints.<name>": "Queue of this hint.",
        "site_rules": "Rules that are looked at before `rules`.",
        "rules": "Rules by a task's name; the first match wins.",
        "rules[].name": "Name of the rule, for people.",
        "rules[].words": "Whole words of the task's own name, any of which matches.",
        "rules[].task": "Pattern on the task's full name.",
        "rules[].match": "Whether words are looked for in the task's own name or in its module path too.",
        "rules[].branches": "Queues by further words; the first match wins.",
        "rules[].branches[].words": "Words of the branch.",
        "rules[].branches[].queue": "Queue of the branch.",
        "rules[].queue": "Queue of the rule if no branch matches.",
    },
    "fleet_broker": {
        "vhost": "Virtual host of the fleet.",
        "port": "Port of AMQP.",
        "management_port": "Port of the management API.",
        "tls": "Whether connections are encrypted; follows `fleet_tls`.",
        "nodes": "Addresses at which workers and clients reach the broker.",
        "nodes[]": "Address of one node; by default the `broker_address` of each host in `brokers`.",
    },
    "fleet_app": {
        "name": "Directory under `/opt`.",
        "celery_app": "What `celery --app` is given.",
        "source": "Where the application comes from.",
        "source.path": "`type: directory`: a tree on the controller.",
        "source.url": "`type: git`: what `git clone` is given.",
        "source.version": "`type: git`: a tag, a branch or a commit.",
        "source.requirement": "`type: package`: a wheel on the controller, or a requirement in the lock.",
        "requirements": "Lock with hashes, in the source.",
        "python": "Interpreter on the hosts that makes the virtual environment.",
        "wheelhouse": "Whether the controller downloads the wheels, for hosts without an index.",
        "keep_releases": "Releases that stay on a host, the current one among them.",
        "environment": "Environment of every worker of the application.",
        "environment.<name>": "Value of the variable. Never shown in a plan or a finding.",
    },
}


class Variable(NamedTuple):
    """A variable of a site that is no part of the model's tables.

    Attributes:
        legal: What it may hold.
        default: What holds without it.
        meaning: What it does.
    """

    legal: str
    default: str
    meaning: str


VARIABLES: Final = {
    "fleet_pool_defaults": Variable("fields of a pool", "see below", "Fields of every pool."),
    "fleet_pools": Variable(
        "a mapping of pools", "the four", "The pools. An environment's own replaces them all."
    ),
    "fleet_environment_pools": Variable(
        "a mapping of pools",
        "none",
        "Fields that an environment changes; an entry with `queues` is a new pool.",
    ),
    "fleet_profiles": Variable(
        "`{GROUP: {pools: {POOL: fields}}}`", "three", "Pools that the servers of a group run."
    ),
    "fleet_host_pools": Variable(
        "a mapping of pools",
        "none",
        "Fields that a host changes, and pools that it takes beside its profile's.",
    ),
    "fleet_accepted_findings": Variable(
        "`{ID: reason}`; `ID@HOST` or `ID@VARIABLE` for one", "none", "Findings that a site accepts, and why."
    ),
    "fleet_hardware": Variable(
        "`{cores: 16, memory_gib: 32}`", "the host's facts", "Hardware of a host that is planned unseen."
    ),
    "fleet_reserve": Variable("shares", "see below", "What no pool plans with."),
    "fleet_routing": Variable("rules", "see below", "Where a task goes whose publisher names no queue."),
    "fleet_broker": Variable("see below", "see below", "The broker as its clients see it."),
    "fleet_app": Variable("see below", "the demo", "The application."),
    "fleet_schedule": Variable(
        "entries by name: `task`, `every` (s) or `crontab`, `args`, `kwargs`, `queue`, `expires` (s)",
        "`{}`",
        "What the scheduler sends, and when; see [beat.md](../use/beat.md).",
    ),
    "fleet_beat": Variable(
        "true or false",
        "whether there is a schedule",
        "Whether a scheduler runs; see [beat.md](../use/beat.md).",
    ),
    "fleet_app_environment": Variable(
        "a mapping of texts", "none", "Environment of every worker, for an inventory to set."
    ),
    "broker_address": Variable(
        "a host name or address", "`ansible_host`", "Where workers and clients reach this host's broker."
    ),
    "broker_hostname": Variable(
        "a host name without a domain",
        "the host's own name",
        "After which this broker's node is called; its data is kept under that name.",
    ),
    "broker_cluster_address": Variable(
        "an IPv4 address",
        "`broker_address`, if that is one",
        "Where the other nodes of the cluster reach this broker.",
    ),
    "fleet_erlang_cookie": Variable(
        "a secret of letters and digits",
        "made once, kept in the environment's secrets",
        "What the nodes of the cluster know each other by.",
    ),
    "fleet_vault_file": Variable(
        "a path on the controller", "`.secrets/vault.yml` beside the inventory", "Where secrets are kept."
    ),
    "fleet_passwords": Variable(
        "a password for each user",
        "made once",
        "Passwords on the broker; single ones go into the vault file.",
    ),
    "fleet_tls": Variable("true or false", "false", "Whether connections to the broker are encrypted."),
    "fleet_tls_certificates": Variable(
        "`kit` or `own`", "`kit`", "Whether the kit makes the brokers' certificates, or the site has its own."
    ),
    "fleet_tls_ca": Variable(
        "a path on the controller", "`tls/ca.pem` beside the inventory", "The site's own authorities."
    ),
    "fleet_tls_certificate": Variable(
        "a path on the controller", "`tls/<host>.pem` there", "The site's own certificate of a broker host."
    ),
    "fleet_tls_key": Variable("a path on the controller", "`tls/<host>.key` there", "Its key."),
    "fleet_serial": Variable(
        "Ansible's `serial`", "`[1, 25%]`", "Hosts of a batch in which workers are started again."
    ),
    "fleet_scale": Variable(
        "a mapping of pools",
        "none",
        "What `scale` persisted for a host: `concurrency` by pool; after every other layer.",
    ),
}
