"""Every field that a site may set: its legal values, its meaning, and whether a host may differ in it.

A new field of a pool is one entry in ``POOL``, one line in ``types.Pool`` and the place that uses it. If it
has a default, that is a line of ``fleet_pool_defaults`` in `group_vars/all/pools.yml`. The check of names and
values, the plan's fields, the reference and the schema for editors follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import application, arguments
from .commands import TIMEOUT_S, is_command
from .crontab import is_crontab
from .names import KINDS, ROUTING_KEY_BYTES
from .spec import (
    LARGEST,
    Spec,
    any_text,
    field,
    flag,
    is_number,
    list_of,
    map_of,
    number_between,
    one_of,
    share,
    table_of,
    text_of,
    variants_of,
    whole_number,
)

_entity = text_of(
    r"(?!amq\.)[A-Za-z0-9_.:-]{1,200}",
    "a name of at most 200 letters, digits, '_', '.', ':' and '-' that does not begin with 'amq.'",
    bad="name/invalid",
)
_queue_name = any_text("the name of a queue", missing="routing/no-queue")
_overflow = ("reject-publish", "drop-head")
POOL_NAME: Final = text_of(
    r"[a-z][a-z0-9_]{0,30}",
    "a name of at most 31 lower-case letters, digits and '_' that begins with a letter "
    "(systemd would read '-' as a slice within a slice)",
    bad="pool/bad-name",
)

_QUEUE = {
    "routing_key": field(
        "Key that leads from the exchange to the queue.",
        text_of(
            rf"(?=.{{1,{ROUTING_KEY_BYTES}}}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*",
            "words of letters, digits, '_' and '-' with dots between them, "
            f"at most {ROUTING_KEY_BYTES} characters",
            missing="queue/no-routing-key",
            bad="queue/bad-routing-key",
        ),
    ),
    "max_length": field(
        "Tasks that may wait; null: no limit.", whole_number(1, "tasks", required=False, nullable=True)
    ),
    "max_priority": field(
        "Highest priority of its tasks, of which 0 is the lowest; null: none (`classic` only).",
        whole_number(1, most=10, required=False, nullable=True),
    ),
    "overflow": field("As the pool's `overflow`, for this queue alone.", one_of(*_overflow, required=False)),
}

POOL: Final[Mapping[str, Spec]] = {
    "kind": field(
        "What its tasks need most. Prefetch, hints and the refusal of mixed queues go by it.",
        one_of(*KINDS),
        fleet_wide=True,
    ),
    "exchange": field("Exchange that its tasks are published to.", _entity, fleet_wide=True),
    "exchange_type": field(
        "`direct` works too, but loses native delays and publishing with `queue=`.",
        one_of("topic", "direct"),
        fleet_wide=True,
    ),
    "queue_type": field(
        "`classic` is a quarter faster at its peak on one node, but has no delivery limit.",
        one_of("quorum", "classic"),
        fleet_wide=True,
    ),
    "queues": field(
        "The queues that it drains; no other pool may have one of them.",
        Spec(
            "a mapping of at least one queue",
            lambda v: isinstance(v, dict) and len(v) > 0,
            {"type": "object", "minProperties": 1},
            each=table_of(_QUEUE, missing="queue/no-routing-key"),
            names=_entity,
            missing="pool/no-queues",
            bad="pool/no-queues",
        ),
        fleet_wide=True,
    ),
    "overflow": field(
        "A full queue refuses the publisher, or moves its oldest task to the dead letters.",
        one_of(*_overflow),
        fleet_wide=True,
    ),
    "delivery_limit": field(
        "Deliveries before a task that kills its workers is dead-lettered (quorum only).",
        whole_number(1, "deliveries"),
        fleet_wide=True,
    ),
    "execution": field(
        "Celery's execution pool. Only `prefork` keeps every limit whatever a task does.",
        one_of("prefork", "threads", "gevent", bad="execution/unknown"),
    ),
    "acknowledgement": field(
        "`late`: a task that its worker lost is delivered again; `early`: it is not.",
        one_of("late", "early"),
    ),
    "rollover": field(
        "In a deploy two releases run side by side, or the new one waits for the old one.",
        one_of("overlap", "wait"),
    ),
    "weight": field(
        "Share of the host, against the other pools of that host.", number_between(0, 1_000_000, above=True)
    ),
    "concurrency": field(
        "Tasks at once; null: derived from the host's cores and memory.", whole_number(1, nullable=True)
    ),
    "min_concurrency": field("With room for fewer than this the host is refused.", whole_number(1)),
    "max_concurrency": field(
        "Upper end of the derived figure; null: as many as fit.", whole_number(1, nullable=True)
    ),
    "autoscale": field(
        "Range of worker processes that grows and shrinks with the backlog.",
        table_of(
            {
                "enabled": field("Whether the pool scales (`prefork` only).", flag()),
                "min": field("Processes that always run.", whole_number(1, nullable=True)),
                "max": field("Most processes; must fit the host.", whole_number(1, nullable=True)),
            }
        ),
    ),
    "environment": field("Extra environment of its worker processes.", application.environment),
    "events": field(
        "Whether its workers send Celery's events, and heartbeats to each other, as Flower needs them; "
        "without a value, where the inventory has a host for it.",
        flag(required=False),
    ),
    "command_prefix": arguments.COMMAND_PREFIX,
    "worker_arguments": arguments.WORKER_ARGUMENTS,
    "demand": field(
        "What one running task needs; sizing divides the host by it.",
        table_of(
            {
                "cores": field(
                    "Cores that one running task keeps busy.", number_between(0, 1_000_000, "cores")
                ),
                "memory_mib": field(
                    "Memory of one running task with its process.", number_between(0, LARGEST, "MiB")
                ),
            }
        ),
    ),
    "prefetch_multiplier": field("Tasks that a worker holds for each that it can run.", whole_number(1)),
    "max_tasks_per_child": field(
        "Tasks after which a process is replaced by a fresh one.",
        whole_number(1, "tasks", missing="limits/missing"),
    ),
    "time_limit": field(
        "Hard limit: the task has failed, its process is killed. Stop and delivery timeouts follow from it.",
        whole_number(1, "seconds", missing="limits/missing"),
    ),
    "soft_time_limit": field(
        "The task gets an exception and may clean up; must be below `time_limit`.",
        whole_number(1, "seconds", missing="limits/missing"),
    ),
    "eta_horizon": field(
        "Longest delay of its tasks where a delayed task is held by a worker.",
        whole_number(0, "seconds", required=False, nullable=True),
    ),
    "calls": field(
        "Pools that its tasks may publish to beside their own; null: every pool.",
        list_of(
            field("Name of a pool.", any_text("the name of a pool")),
            "a list of pools",
            required=False,
            nullable=True,
        ),
        fleet_wide=True,
    ),
    "wait_target": field(
        "Seconds that a task may wait until it starts before an alert says so; null: `soft_time_limit`.",
        whole_number(1, "seconds", required=False, nullable=True),
        fleet_wide=True,
    ),
    "failure_ratio": field(
        "Share of failed tasks above which an alert says so, from 20 tasks in 15 minutes on.",
        number_between(0, 1, above=True, required=False),
        fleet_wide=True,
    ),
    "severity": field(
        "Of the alerts on its waits and failures: which receivers of `fleet_monitoring` get them.",
        one_of("warning", "critical", required=False),
        fleet_wide=True,
    ),
}

# The broker has these once for the whole fleet, so no profile and no host can differ.
FLEET_WIDE: Final = tuple(name for name, spec in POOL.items() if spec.fleet_wide)

RESERVE: Final = {
    "cores": field("Share of every host's cores that no pool plans with.", share()),
    "memory": field("Share of every host's memory that no pool plans with.", share()),
}

_word = field(
    "One word.",
    text_of(
        r"(?:[a-z]|[^\x00-\x7f])+|[0-9]+", "a word as names of tasks are split: lower-case letters, or digits"
    ),
)
_words = list_of(_word, "a list of words")
_RULE = {
    "name": field("Name of the rule, for people.", any_text()),
    "words": field(
        "Whole words of the task's own name, any of which matches.",
        list_of(_word, "a list of words", required=False),
    ),
    "task": field(
        "Pattern on the task's full name.",
        text_of(
            r"(?:[^\s\[]|\[[^\s\]]+\])+",
            "a pattern for the names of tasks, such as billing.*",
            required=False,
        ),
    ),
    "match": field(
        "Whether words are looked for in the task's own name or in its module path too.",
        one_of("name", "path", required=False),
    ),
    "branches": field(
        "Queues by further words; the first match wins.",
        list_of(
            table_of(
                {
                    "words": field("Words of the branch.", _words),
                    "queue": field("Queue of the branch.", _queue_name),
                }
            ),
            "a list of branches",
            required=False,
        ),
    ),
    "queue": field("Queue of the rule if no branch matches.", _queue_name),
}

ROUTING: Final = {
    "default_queue": field("Where a task goes that no rule matches.", _queue_name),
    "periodic_queue": field("Where a task of beat goes that no rule matches.", _queue_name),
    "hints": field(
        "Queue of each resource hint.",
        map_of(field("Queue of this hint.", _queue_name), "a mapping of hints to queues"),
    ),
    "aliases": field(
        "The application's own names of queues, and the queue that each one means.",
        map_of(
            field("Queue of this name.", _queue_name),
            "a mapping of the application's names to queues",
            names=any_text("the name of a queue"),
            required=False,
        ),
    ),
    "site_rules": field(
        "Rules that are looked at before `rules`.",
        list_of(table_of(_RULE), "a list of rules", required=False),
    ),
    "rules": field(
        "Rules by a task's name; the first match wins.", list_of(table_of(_RULE), "a list of rules")
    ),
}


_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_BYTE: Final = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_HOST: Final = "|".join(
    (
        rf"{_BYTE}(?:\.{_BYTE}){{3}}",
        r"(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]{2,45}",
        # A last label of digits would be a malformed address.
        rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*(?![0-9]+\.?$){_LABEL}\.?",
    )
)


def _differ(items: list[object]) -> bool:
    """Return whether no text is there twice."""
    texts = [item.lower() for item in items if isinstance(item, str)]
    return len(texts) == len(set(texts))


def _address(finding: str) -> Spec:
    return text_of(_HOST, "a host name or address, without a port", bad=finding, missing=finding)


# Users of a broker begin with it, and files on hosts hold it.
FLEET_NAME: Final = text_of(
    r"[a-z][a-z0-9_]{0,31}", "a small letter, then at most 31 small letters, digits and _"
)
_port = whole_number(1, most=65535)
BROKER: Final = {
    "vhost": field(
        "Virtual host of the fleet.",
        text_of(r"[\x20-\x7e]{1,255}", "a text of at most 255 letters, digits, blanks and signs of ASCII"),
    ),
    "port": field("Port of AMQP.", _port),
    "management_port": field(
        "Port of the management API, on the brokers' hosts.", whole_number(1, most=65535, required=False)
    ),
    "tls": field("Whether connections are encrypted; follows `fleet_tls`.", flag(required=False)),
    "client_control": field(
        "Whether clients may revoke and inspect tasks; follows `fleet_client_control`.", flag(required=False)
    ),
    "max_message_mib": field(
        "Largest task that the broker takes; a larger one raises `MessageTooLargeError` at its publisher.",
        whole_number(1, "MiB", most=512, required=False),
    ),
    "max_backlog_mib": field(
        "Tasks that may wait, dead letters and delayed ones included; each queue has its share.",
        whole_number(1024, "MiB", required=False),
    ),
    "max_connections": field(
        "Connections that each user of the broker may have at once.",
        whole_number(100, required=False),
    ),
    "nodes": field(
        "Addresses at which workers and clients reach the broker.",
        Spec(
            "a list of at least one address, each once",
            lambda v: isinstance(v, list) and len(v) > 0 and _differ(v),
            {"type": "array", "minItems": 1, "uniqueItems": True},
            each=field(
                "Address of one node; by default the `broker_address` of each host in `brokers`.",
                _address("broker/no-address"),
            ),
            bad="broker/no-address",
            missing="broker/no-address",
        ),
    ),
    "managed": field(
        "Whether the kit installs the broker on the hosts in `brokers`; without it the site has one already.",
        flag(required=False),
    ),
    "api": field(
        "Address of the management API of a broker that the site has already.",
        text_of(r"https?://[^\s/?#@]+", "such as https://rabbit.example.com:15671", required=False),
    ),
    "administrator": field(
        "Its user with the tag `administrator`; the secret `administrator` is its password.",
        any_text(required=False),
    ),
    "user_prefix": field(
        "What the names of the fleet's users begin with at a broker that others use, too; by default "
        "`fleet_name` and `_`, for a fleet that has a name.",
        text_of(r"[A-Za-z0-9._-]{0,64}", "at most 64 letters, digits, '.', '_' and '-'", required=False),
    ),
    "ca": field(
        "File on the controller with the authorities that its certificates come from.",
        any_text(required=False),
    ),
}

_hooks = list_of(
    table_of(
        {
            "name": field(
                "What it is called in messages.",
                text_of(r"[^\s\x00-\x1f][^\x00-\x1f]{0,79}", "a line of at most 80 characters"),
            ),
            "command": field(
                "A line that is split into arguments, or a list of them; no shell runs it.",
                Spec(
                    "a line, or a list of arguments",
                    is_command,
                    {"type": ["string", "array"], "minLength": 1, "minItems": 1},
                ),
            ),
            "timeout": field(
                f"Seconds that it may take ({TIMEOUT_S} by default).",
                whole_number(1, "seconds", required=False),
            ),
        }
    ),
    "a list of commands",
    required=False,
)

_SUBDIRECTORY: Final = field(
    "Where the application lies in it.",
    text_of(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))\S(?:.*\S)?", "a path below the source", required=False),
)


def _paths() -> Spec:
    each = field(
        "One of them.", text_of(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$)).+", "a path or a pattern below the source")
    )
    return list_of(each, "a list of paths and patterns", required=False)


_EXCLUDE: Final = field("Paths and patterns of files that do not go.", _paths())

RESULTS: Final = {
    "nodes": field(
        "Address at which workers and clients reach the results; by default the `results_address` of the "
        "host in `results`.",
        list_of(
            field(
                "Address of the host.",
                _address("results/no-address"),
            ),
            "a list of at most one address",
        ),
    ),
    "port": field("Port of the server.", _port),
    "tls": field("Whether connections are encrypted; follows `fleet_tls`.", flag(required=False)),
    "memory": field(
        "Share of the host's memory that results may fill; while the server rewrites its file it may need as "
        "much again.",
        share(),
    ),
}

_dotted = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_named_app = text_of(f"{_dotted}:{_dotted}", "a module and an app in it")
APP: Final = {
    "name": field(
        "Directory under `/opt`.",
        text_of(
            r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
            "a name of at most 64 letters, digits, '-' and '_'",
            bad="name/invalid",
        ),
    ),
    "celery_app": field(
        "What `celery --app` is given.",
        text_of(f"{_dotted}(:{_dotted})?", "a module and an app in it, such as demo.app:app"),
    ),
    "source": field(
        "Where the application comes from.",
        variants_of(
            {
                "directory": {
                    "path": field("`type: directory`: a tree on the controller.", any_text()),
                    "subdirectory": _SUBDIRECTORY,
                    "include": field(
                        "`type: directory`: paths and patterns of files that go although git ignores them.",
                        _paths(),
                    ),
                    "exclude": _EXCLUDE,
                },
                "git": {
                    "url": field("`type: git`: what `git clone` is given.", any_text()),
                    "version": field(
                        "`type: git`: a tag, a branch or a commit.",
                        text_of(r"[^\s-]\S*", "a tag, a branch or a commit"),
                    ),
                    "subdirectory": _SUBDIRECTORY,
                    "exclude": _EXCLUDE,
                    "key": field(
                        "`type: git`: private key that may read the repository, from ansible-vault.",
                        text_of(
                            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+",
                            "a private key as OpenSSH writes it",
                            required=False,
                            hidden=True,
                        ),
                    ),
                    "known_hosts": field(
                        "`type: git`: lines of `known_hosts` for its host, if the controller has none.",
                        any_text("lines of known_hosts", required=False),
                    ),
                    "username": field("`type: git`: user for HTTPS.", any_text(required=False)),
                    "password": field(
                        "`type: git`: password or token for HTTPS, from ansible-vault.",
                        any_text(required=False, hidden=True),
                    ),
                },
                "package": {
                    "requirement": field(
                        "`type: package`: a wheel on the controller, or a requirement in the lock.",
                        any_text(),
                    )
                },
            }
        ),
    ),
    "requirements": field(
        "Lock: `uv.lock`, `poetry.lock`, `Pipfile.lock`, `pylock.toml` or a requirements file; a path in the "
        "source or on the controller.",
        any_text(),
    ),
    "groups": field("Groups of the lock that are installed beside the main one.", application.GROUPS),
    "extras": field("Extras of the project whose requirements are installed.", application.EXTRAS),
    "hashes": field("Whether every requirement must have hashes; `true` without it.", flag(required=False)),
    "sdists": field(
        "Packages without a wheel whose own code may build one on the hosts, as an unprivileged user.",
        application.SDISTS,
    ),
    "indexes": field(
        "Indexes that the hosts ask, in place of those of their own configuration.", application.INDEXES
    ),
    "python": field(
        "Interpreter on the hosts.",
        table_of(
            {
                "version": field(
                    "A command such as `python3`, a path, or a version such as 3.12.",
                    text_of(r"[^\s-]\S*", "a command, a path or a version"),
                ),
                "archive": field(
                    "A tar archive on the controller that holds this Python.", any_text(required=False)
                ),
                "sha256": field(
                    "The archive's checksum.",
                    text_of(r"[0-9a-f]{64}", "64 hexadecimal digits", required=False),
                ),
            },
            short="version",
            required=False,
        ),
    ),
    "install": field(
        "Whether the project itself is installed, with its metadata and entry points; `auto`: if its "
        "pyproject.toml names a build system.",
        Spec(
            "true, false or auto",
            lambda v: isinstance(v, bool) or v == "auto",
            {"enum": [True, False, "auto"]},
            required=False,
        ),
    ),
    "wheelhouse": field(
        "Whether the controller downloads the wheels, for hosts without an index.", flag(required=False)
    ),
    "keep_releases": field(
        "Releases that stay on a host, the current one among them.", whole_number(1, required=False)
    ),
    "limits_above_pool": field(
        "What a build does with tasks whose own time limits are above those of their pool.",
        one_of("refuse", "clamp", required=False),
    ),
    "autoconfigure": field(
        "Whether the release makes an application a member that does not call `celery_fleet.configure` "
        "itself; or the module and the app in it, where `celery_app` only passes on what another one makes.",
        Spec(
            "true, false, or a module and an app in it, such as shop.extensions:celery_app",
            lambda v: isinstance(v, bool) or _named_app.test(v),
            {**_named_app.schema, "type": ["boolean", "string"]},
            required=False,
        ),
    ),
    "prepare": field("Commands on every host that gets a release, before `before_release`.", _hooks),
    "before_release": field(
        "Commands on one host before any worker of a release starts; migrations.", _hooks
    ),
    "release_host": field(
        "Host that runs `before_release` and `after_release`; the first of the workers by default.",
        any_text("the name of a host", required=False),
    ),
    "after_release": field("Commands on one host when all workers run a release.", _hooks),
    "environment": field("Environment of every worker of the application.", application.environment),
    "secrets": field(
        "Values that others may not read, for the application's processes.", application.SECRETS
    ),
    "files": field("Files that the application reads.", application.FILES),
    "writable": field("Directories that tasks may write beside their state directory.", application.WRITABLE),
    "working_directory": field(
        "Where processes start: a path in the source, or on the host; without one the source.",
        application.WORKING_DIRECTORY,
    ),
    "packages": field("Packages of the distribution that the application needs.", application.PACKAGES),
    "ca_certificates": field(
        "Authorities beside the public ones, by name, whose certificates the hosts trust.",
        application.CERTIFICATES,
    ),
}


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool) or is_number(value)


_ENTRY = {
    "task": field("Full name of the task.", text_of(r"\S+", "the full name of a task")),
    "every": field(
        "Seconds from one sending to the next; or `crontab`.",
        number_between(1, LARGEST, "seconds", required=False, nullable=True),
    ),
    "crontab": field(
        "Minute, hour, day of month, month and day of week at which it is sent; or `every`.",
        Spec(
            "five fields (minute, hour, day of month, month, day of week 0-6), such as '30 2 * * mon-fri', "
            "of a time that comes",
            is_crontab,
            {"type": "string", "pattern": r"^\s*\S+(\s+\S+){4}\s*$"},
            required=False,
            nullable=True,
        ),
    ),
    "args": field(
        "Positional arguments.",
        Spec(
            "a list of texts, numbers, lists and mappings",
            lambda v: isinstance(v, list) and _is_json(v),
            {"type": "array"},
            required=False,
            hidden=True,
        ),
    ),
    "kwargs": field(
        "Keyword arguments.",
        Spec(
            "a mapping of names to texts, numbers, lists and mappings",
            lambda v: isinstance(v, dict) and _is_json(v),
            {"type": "object"},
            required=False,
            hidden=True,
        ),
    ),
    "queue": field(
        "Queue that it goes to; without one the routing rules decide.",
        any_text("the name of a queue", required=False),
    ),
    "expires": field(
        "Seconds after which it is not worth running.",
        whole_number(1, "seconds", required=False, nullable=True),
    ),
    "late": field(
        "Seconds after its time at which an alert counts it as missed; null: as long as `every`, at least a "
        "minute, or an hour with `crontab`.",
        whole_number(1, "seconds", required=False, nullable=True),
    ),
}

SCHEDULE: Final = map_of(
    table_of(_ENTRY, hidden=True),
    "a mapping of entries",
    names=text_of(
        r"[A-Za-z0-9_.-]{1,100}",
        "a name of at most 100 letters, digits, '_', '.' and '-'",
        bad="name/invalid",
    ),
)

_secret = text_of(r"[^\s\x00-\x1f]+", "a text without blanks", hidden=True)
_url = field(
    "Where it is sent; whoever knows the address may send, so it belongs into Ansible's vault.",
    text_of(r"https?://[^\s\x00-\x1f]+", "a URL of http or https", hidden=True),
)
_mailbox = text_of(r"[^\s@<>,]+@[^\s@<>,]+", "an address such as ops@example.com")
_receivers = list_of(
    field("One of `receivers`.", any_text("the name of a receiver")), "a list of receivers", required=False
)

MONITORING: Final = {
    "scrape": field(
        "Seconds from one reading of all figures to the next.",
        whole_number(5, "seconds", most=60, required=False),
    ),
    "retention_days": field(
        "Days that figures are kept.", whole_number(1, "days", most=3650, required=False)
    ),
    "size_mib": field(
        "Room that they may take; the oldest go first.",
        whole_number(256, "MiB", required=False),
    ),
    "patience": field(
        "How long a condition holds until its alert fires, as a share of the alert's own time.",
        number_between(0, 10, above=True, required=False),
    ),
    "receivers": field(
        "Who is told of alerts, by a name.",
        map_of(
            field(
                "Who is told, and how.",
                variants_of(
                    {
                        "email": {
                            "to": field("`type: email`: who gets it.", _mailbox),
                            "from": field("`type: email`: its sender.", _mailbox),
                            "server": field(
                                "`type: email`: the server that takes it, which must offer TLS.",
                                text_of(
                                    r"[A-Za-z0-9_.-]+:[0-9]{1,5}",
                                    "a host name and a port, such as mail.example.com:587",
                                ),
                            ),
                            "username": field(
                                "`type: email`: login at the server.", any_text(required=False)
                            ),
                            "password": field(
                                "`type: email`: its password, from Ansible's vault.",
                                any_text(required=False, hidden=True),
                            ),
                        },
                        "webhook": {
                            "url": _url,
                            "token": field(
                                "`type: webhook`: sent as `Authorization: Bearer`, from Ansible's vault.",
                                text_of(
                                    r"[^\s\x00-\x1f]+", "a text without blanks", required=False, hidden=True
                                ),
                            ),
                        },
                        "slack": {
                            "url": _url,
                            "channel": field(
                                "`type: slack`: a channel other than the address's own.",
                                any_text(required=False),
                            ),
                        },
                        "pagerduty": {
                            "key": field(
                                "`type: pagerduty`: the key of the Events API v2, from the vault.",
                                _secret,
                            ),
                            "events_url": field(
                                "`type: pagerduty`: another service that takes the same events.",
                                text_of(
                                    r"https?://[^\s\x00-\x1f]+",
                                    "a URL of http or https",
                                    required=False,
                                    hidden=True,
                                ),
                            ),
                        },
                    }
                ),
            ),
            "a mapping of receivers",
            names=text_of(
                r"[a-z][a-z0-9_-]{0,30}", "a name of at most 31 lower-case letters, digits, '_' and '-'"
            ),
            required=False,
        ),
    ),
    "routes": field(
        "Which receivers get the alerts of each severity.",
        table_of(
            {
                "critical": field(
                    "Tasks are refused, lost or not worked on: somebody must come now.", _receivers
                ),
                "warning": field("It becomes critical if nobody looks.", _receivers),
                "info": field("What is worth knowing.", _receivers),
                "watchdog": field(
                    "An alert that always fires, to a service outside that misses it when monitoring ends.",
                    _receivers,
                ),
            },
            required=False,
        ),
    ),
}

FLOWER: Final = {
    "runs": field(
        "Set by the kit: whether the inventory has a host in the group `flower`.", flag(required=False)
    ),
    "port": field(
        "Port at which people reach it, with TLS and a login.",
        whole_number(1024, most=65535, required=False),
    ),
    "max_tasks": field(
        "Tasks that it keeps in memory; it forgets the oldest.",
        whole_number(100, "tasks", most=1_000_000, required=False),
    ),
    "control": field(
        "Whether whoever has its login may command workers: inspect them, revoke tasks, stop workers.",
        flag(required=False),
    ),
    "show_arguments": field(
        "Whether it keeps and shows the arguments and results of tasks.", flag(required=False)
    ),
}

CLIENT_USERS: Final = list_of(
    field(
        "User of a client host.",
        # Also those of a directory service, whose names may have a domain.
        text_of(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?", "the name of a user, such as www-data"),
    ),
    "a list of users",
)

# Variables of the model whose value is a mapping of known fields. Pools have the same fields on every layer.
SPECS: Final[Mapping[str, Mapping[str, Spec]]] = {
    "fleet_pools": POOL,
    "fleet_reserve": RESERVE,
    "fleet_routing": ROUTING,
    "fleet_broker": BROKER,
    "fleet_results": RESULTS,
    "fleet_app": APP,
    "fleet_monitoring": MONITORING,
    "fleet_flower": FLOWER,
}
