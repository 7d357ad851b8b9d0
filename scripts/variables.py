"""Variables of a site that are no part of the model's tables, for the reference and the schema."""

from __future__ import annotations

from typing import Final, NamedTuple


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
    "fleet_name": Variable(
        "a name of small letters, digits and `_`",
        "`celery_fleet`",
        "What the fleet is called, if there is another one; see [fleets.md](../use/fleets.md).",
    ),
    "fleet_pool_defaults": Variable("fields of a pool", "see below", "Fields of every pool."),
    "fleet_pools": Variable(
        "a mapping of pools", "the four", "The pools. An environment's own replaces them all."
    ),
    "fleet_tuned_pools": Variable(
        "a mapping of pools", "none", "Measured figures, as [tune](../verbs/tune.md) writes them."
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
    "fleet_environment_routing": Variable(
        "fields of `fleet_routing`", "none", "Fields that an environment changes, such as `aliases`."
    ),
    "fleet_broker": Variable("see below", "see below", "The broker as its clients see it."),
    "fleet_client_control": Variable(
        "`true` or `false`",
        "`false`",
        "Whether clients may revoke and inspect tasks; see [cancel.md](../use/cancel.md) for its price.",
    ),
    "fleet_results": Variable(
        "see below",
        "none without a host in `results`",
        "The server that keeps the results of tasks; see [results.md](../use/results.md).",
    ),
    "fleet_results_memory": Variable(
        "a share from 0 to below 1", "`0.1`", "Share of the memory of their host that results may fill."
    ),
    "results_address": Variable(
        "a host name or address", "`ansible_host`", "Where workers and clients reach this host's results."
    ),
    "fleet_monitoring": Variable(
        "see below",
        "see below",
        "What is kept of the figures, and who is told of alerts; see [alerts.md](alerts.md).",
    ),
    "exporter_address": Variable(
        "a host name or address",
        "`ansible_host`",
        "Where this host's metrics are served, and from where it asks for them if it is in `monitoring`.",
    ),
    "fleet_flower": Variable(
        "see below", "see below", "What Flower may do and keeps; see [flower.md](../use/flower.md)."
    ),
    "fleet_web_password": Variable(
        "a text",
        "`web` of the file of secrets, which is made",
        "Password of the login `fleet` of Flower and the pages of monitoring.",
    ),
    "fleet_app": Variable("see below", "the demo", "The application."),
    "fleet_app_defaults": Variable(
        "fields of `fleet_app`", "see below", "Fields of an application that does not say otherwise."
    ),
    "fleet_client_users": Variable(
        "a list of users, such as `[www-data]`",
        "`[]`",
        "Users on `clients` that may publish tasks; see [web.md](../use/web.md).",
    ),
    "fleet_schedule": Variable(
        "entries by name: `task`, `every` (s) or `crontab`, `args`, `kwargs`, `queue`, `expires`, `late` (s)",
        "`{}`",
        "What the scheduler sends, and when; see [beat.md](../use/beat.md).",
    ),
    "fleet_beat": Variable(
        "`true`, `false` or `auto`",
        "`auto`: whether there is a schedule",
        "Whether a scheduler runs; see [beat.md](../use/beat.md).",
    ),
    "fleet_app_environment": Variable(
        "a mapping of texts", "none", "Environment of every worker, for an inventory to set."
    ),
    "fleet_app_secrets": Variable(
        "a mapping of secrets",
        "none",
        "The application's secrets, for an inventory to set; see [application.md](../use/application.md).",
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
    "broker_internode_tls": Variable(
        "true or false",
        "`fleet_tls`",
        "Whether the nodes of a new cluster encrypt what they say to each other, too.",
    ),
    "tls_renew_before_days": Variable(
        "days",
        "30",
        "From so many days before its end a run renews a certificate of the kit, and any is warned of.",
    ),
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
