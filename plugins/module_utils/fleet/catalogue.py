"""Every finding that the kit knows: what it is called, why it hurts, and what to do about it.

One table serves the code, which adds the variable, the value and the place at run time, and the page
of the docs that explains each finding. Nothing reports a finding that is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ERROR: Final = "error"
WARNING: Final = "warning"
ACCEPTED: Final = "accepted"


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: ``error`` refuses the fleet, ``warning`` is only reported.
        title: What it is, in a few words.
        why: Why it hurts, in one line.
        remedy: What to do about it, in general.
        source: Where the knowledge comes from.
        structural: Whether nothing can be derived in spite of it, so that no site can accept it.
    """

    severity: str
    title: str
    why: str
    remedy: str
    source: str
    structural: bool = False


_KIT: Final = "the kit's own design"
_GUIDE: Final = "the guide to worker pools that the kit implements"
_CELERY: Final = "measured with Celery 5.7 on RabbitMQ 4.0"
_RABBIT: Final = "RabbitMQ's documentation and release notes"
_PACKAGING: Final = "the documentation of uv, Poetry, Pipenv and pip"
_SYSTEM: Final = "systemd and Linux"


def _fault(title: str, why: str, remedy: str, source: str = _KIT) -> Kind:
    return Kind(ERROR, title, why, remedy, source, structural=True)


def _error(title: str, why: str, remedy: str, source: str = _KIT) -> Kind:
    return Kind(ERROR, title, why, remedy, source)


def _warning(title: str, why: str, remedy: str, source: str = _KIT) -> Kind:
    return Kind(WARNING, title, why, remedy, source)


CATALOGUE: Final[dict[str, Kind]] = {
    # The mistakes that the guide names
    "mistake/one-concurrency": _error(
        "One concurrency for pools of different kinds",
        "a figure that suits tasks that wait for a network starves tasks that need a core or gigabytes",
        "remove concurrency, so that each pool is sized for its host, or state it pool by pool",
        _GUIDE,
    ),
    "mistake/more-tasks-than-cores": _error(
        "A cpu pool with more tasks than the host has cores",
        "the tasks take turns on the cores: each gets slower, none is done sooner, and limits are hit",
        "leave concurrency to be derived, or set it to at most the cores of the host",
        _GUIDE,
    ),
    "mistake/high-prefetch": _error(
        "A high prefetch for cpu or memory tasks",
        "long tasks would wait behind a running one while other workers are idle",
        "set prefetch_multiplier to 1 for pools of kind cpu and memory",
        _GUIDE,
    ),
    "mistake/mixed-kinds": _error(
        "One worker for tasks of different kinds",
        "slow tasks block quick ones, and no concurrency or limit suits both",
        "keep each queue, and each hint, to one kind of task",
        _GUIDE,
    ),
    "limits/missing": _fault(
        "No time limit, or no max_tasks_per_child",
        "one hung task holds its process forever, and one that leaks memory never gives it back",
        "give time_limit, soft_time_limit and max_tasks_per_child",
        _GUIDE,
    ),
    # Limits
    "limits/soft-not-below-hard": _error(
        "A soft limit that does not come before the hard one",
        "the soft limit must come before the hard one, or the task gets no chance to clean up",
        "make soft_time_limit smaller than time_limit",
        _CELERY,
    ),
    "limits/not-enforced": _warning(
        "Limits that the execution pool keeps only in part",
        "threads cannot raise the soft limit in a call that blocks, nor gevent any limit in a task that "
        "computes; neither keeps max_tasks_per_child",
        "use prefork, or give every call in these tasks its own timeout",
        _CELERY,
    ),
    "limits/as-good-as-none": _warning(
        "A time limit of more than a week",
        "a hung task holds its process that long, and so may a deploy's old release",
        "lower time_limit to what the longest task really takes, or split the task",
    ),
    "limits/long-window": _warning(
        "A prefetch window that takes more than a day to drain",
        "the last task of a full window may wait that long behind the others, and the broker with it",
        "lower prefetch_multiplier or time_limit, or bring the ends of the autoscale range together",
        _CELERY,
    ),
    # Delays
    "delays/held-by-worker": _warning(
        "Delayed tasks wait in the workers",
        "without native delays each ETA, countdown or retry holds a prefetch slot; one longer than the "
        "consumer timeout ends its worker",
        "use exchange_type topic and queue_type quorum, or say in eta_horizon how long the delays are",
        _CELERY,
    ),
    "delays/beyond-timeout": _error(
        "Delays longer than the broker waits",
        "the broker takes a task back that is not acknowledged in time, and ends the worker that holds it",
        "use exchange_type topic and queue_type quorum, whose delays are the broker's own, or shorter delays",
        _CELERY,
    ),
    # Autoscale
    "autoscale/not-prefork": _fault(
        "Autoscale with an execution pool that cannot",
        "only prefork can change its number of processes; a worker with threads crashes on it",
        "set execution to prefork, or autoscale.enabled to false",
        _CELERY,
    ),
    "autoscale/no-range": _fault(
        "Autoscale without both ends of its range",
        "a pool that scales needs both ends of its range",
        "give autoscale.min and autoscale.max",
    ),
    "autoscale/empty-range": _fault(
        "Autoscale with an empty range",
        "the lower end is above the upper one",
        "make autoscale.min at most autoscale.max",
    ),
    "autoscale/with-concurrency": _fault(
        "Autoscale beside a concurrency",
        "Celery ignores a concurrency beside autoscale",
        "set one of them: concurrency to null, or autoscale.enabled to false",
        _CELERY,
    ),
    # Sizing
    "sizing/empty-range": _fault(
        "An empty range of concurrency",
        "the least concurrency is above the greatest",
        "make min_concurrency at most max_concurrency",
    ),
    "sizing/outside-range": _fault(
        "A concurrency outside of the pool's own range",
        "it is outside of the pool's own min_concurrency and max_concurrency",
        "change the figure or the range",
    ),
    "sizing/unbounded": _fault(
        "A pool that nothing bounds",
        "a task that needs nothing fits any number of times",
        "give demand.cores or demand.memory_mib, or a max_concurrency",
    ),
    "sizing/too-little-memory": _fault(
        "A host with too little memory for a pool",
        "not even the least number of tasks fits, so they would be killed for memory",
        "run the pool on a larger host, give it more weight, or lower the demand to what a task really uses",
    ),
    "sizing/too-few-cores": _fault(
        "A host with too few cores for a pool",
        "not even the least number of tasks fits, so they would run into their limits",
        "run the pool on a larger host, give it more weight, or lower the demand to what a task really uses",
    ),
    "sizing/over-budget": _error(
        "A stated concurrency or autoscale top beyond the pool's budget",
        "the tasks need more than the pool's share of the host: memory runs out, or everything slows down",
        "lower the figure, or leave it to be derived",
    ),
    "sizing/over-host": _error(
        "The pools of a host need more than it has",
        "all running tasks together exceed the whole host, reserve included: the kernel kills for memory",
        "lower the stated figures, or take a pool off the host",
    ),
    "sizing/open-files": _error(
        "A worker that needs more open files than it may have",
        "at the limit it can open no connection and start no process, and stops taking tasks",
        "raise worker_open_files, or lower the pool's concurrency",
        "descriptors counted in /proc of a worker with 4 and with 20 processes; " + _SYSTEM,
    ),
    "hardware/unreadable": _fault(
        "A host whose size is not known",
        "nothing can be sized for a host without cores and memory",
        "gather facts from the host (setup) and look at processor_vcpus and memtotal_mb",
    ),
    "hardware/bad-declaration": _fault(
        "A declaration of hardware that cannot be read",
        "a host that does not exist yet can be planned only by what is declared",
        "write for example {cores: 16, memory_gib: 32}",
    ),
    "hardware/differs-from-declaration": _warning(
        "A host that is not what the inventory declares",
        "what was planned before the host existed is not what will run",
        "correct the declaration or remove it, or give the host what was ordered",
    ),
    # The model's form
    "model/unknown-key": _fault(
        "An unknown or misspelt field",
        "nothing reads it, so what it was meant to set silently stays as it was",
        "correct the name, or remove the field",
    ),
    "model/renamed-key": _fault(
        "A field under its former name",
        "nothing reads it any more, so what it was meant to set silently stays as it was",
        "use the new name",
    ),
    "model/name-not-text": _fault(
        "A name that YAML reads as something else",
        "1, true, null or 1.5 would be a name of that text here, and another one elsewhere",
        "put the name in quotes, or correct it",
    ),
    "model/missing-key": _fault("A missing field", "nothing can be derived without it", "give the field"),
    "model/bad-value": _fault(
        "A value of a wrong type or out of range",
        "what is derived from it would be refused later, or worse, be accepted",
        "give a legal value",
    ),
    "model/fleet-wide-field": _fault(
        "A host or profile that changes what the whole fleet shares",
        "the broker has it once for the whole fleet, so no profile or host can differ",
        "set it in fleet_pools or fleet_environment_pools",
    ),
    "name/invalid": _fault(
        "A name that the broker or the hosts would not take",
        "names become exchanges, queues, directories and units",
        "use letters, digits, '_', '.', ':' and '-'",
    ),
    "name/reserved": _fault(
        "A name that the kit or Celery uses itself",
        "the kit or Celery has a queue or an exchange of this name itself",
        "choose another name",
    ),
    "pool/bad-name": _fault(
        "A pool name that systemd would misread",
        "a pool's name becomes a slice and a unit",
        "use lower-case letters, digits and '_'",
        _SYSTEM,
    ),
    "pool/no-queues": _fault(
        "A pool without queues", "its workers would have nothing to consume", "give it a queue"
    ),
    "pool/none": _fault("A fleet without pools", "there is nothing to run", "define at least one pool"),
    "pool/unknown-call": _fault(
        "A pool that calls a pool that does not exist",
        "its tasks would be refused where they call the pool that was meant",
        "name a pool of fleet_pools",
    ),
    "profile/unknown-pool": _fault(
        "A profile with a pool that does not exist",
        "the pool that was meant stays off these hosts",
        "name a pool of fleet_pools",
    ),
    "environment/unknown-pool": _fault(
        "An environment that changes a pool that does not exist",
        "the pool that was meant keeps its old figures",
        "name a pool of fleet_pools",
    ),
    "tuned/unknown-pool": _fault(
        "A measured figure of a pool that does not exist",
        "it has no effect, and hides that the pool was renamed or removed",
        "remove the pool from fleet_tuned_pools, and run playbooks/tune.yml again",
    ),
    "host/unknown-pool": _fault(
        "A host that changes a pool that does not exist",
        "the pool that was meant keeps its old figures on this host",
        "name a pool of fleet_pools",
    ),
    # The application
    "app/taken-variable": _fault(
        "An environment variable that overrides the fleet",
        "it would lead tasks to another broker, or start workers in another way than their unit says",
        "remove it",
        _CELERY,
    ),
    "app/no-named-app": _fault(
        "An application to configure that is not named",
        "autoconfigure takes the app from its module by its name, which celery_app leaves to Celery to find",
        "write the module and the app in it, such as shop.celery:app",
    ),
    "app/bad-command": _fault(
        "A command that cannot be split into arguments",
        "nothing could be run",
        "close its quotes, or write it as a list of arguments",
        _KIT,
    ),
    "app/shell-command": _fault(
        "A command that needs a shell",
        "commands are split into arguments and run without one, so it would be given the sign as an argument",
        "write several entries, quote the sign if it is meant as it is, or run a shell: [sh, -c, '...']",
        _KIT,
    ),
    "app/unknown-host": _fault(
        "Hooks on a host that has no release",
        "a deploy could run nothing there",
        "name a host of the groups workers or clients, or none: then the first of the workers runs them",
        _KIT,
    ),
    "app/duplicate-hook": _fault(
        "Two hooks of one name or command",
        "messages and records could not tell them apart",
        "give each its own name, and remove the one that is there twice",
        _KIT,
    ),
    "app/plain-secret": _warning(
        "An environment variable that looks like a secret",
        "an environment stands in the clear in the inventory, in differences, and in units that all may read",
        "move it to fleet_app.secrets, whose values come from Ansible's vault, or accept this finding",
        _SYSTEM,
    ),
    "app/secret-and-environment": _error(
        "A variable that is a secret and part of an environment",
        "the secret wins, so the other value counts nowhere",
        "keep one of the two",
        _SYSTEM,
    ),
    "app/unfit-secret": _fault(
        "A secret that cannot be handed over as it is",
        "systemd would leave it out, or refuse to start the unit",
        "hand it over as a file",
        _SYSTEM,
    ),
    "app/unknown-reader": _fault(
        "A reader that does not exist",
        "the process that was meant would start without its secret or its file",
        "name pools, scheduler, clients or commands",
    ),
    "app/file-content": _fault(
        "A file of the application that cannot be written as it is",
        "the file would be missing, empty or readable for everybody",
        "give either content or source, and what a file of its place may have",
    ),
    "app/bad-path": _fault(
        "A path that the application cannot have",
        "a file there would be lost, not be seen, or let tasks write what others trust",
        "choose a directory of the application's own, for example below /etc/<application> or /srv",
    ),
    # The application's lock
    "lock/missing": _fault(
        "A lock that is not there",
        "the hosts would not know what to install",
        "name the lock that there is, by its path in the source or on the controller; or make one with "
        "`uv lock` or `uv pip compile --generate-hashes`",
    ),
    "lock/unreadable": _fault(
        "A lock that cannot be read",
        "the hosts would not know what to install",
        "give uv.lock, poetry.lock, Pipfile.lock, pylock.toml or a requirements file, with its project",
        _PACKAGING,
    ),
    "lock/empty": _fault(
        "A lock that requires nothing",
        "not even Celery would be installed",
        "make it again, and name the groups of your requirements in fleet_app.groups",
    ),
    "lock/no-celery": _fault(
        "A lock without Celery",
        "no worker could start",
        "require celery and make the lock again, or name the group that requires it in fleet_app.groups",
    ),
    "lock/other-package": _fault(
        "A package that the lock does not pin",
        "each host would get what is newest on its day",
        "require it, and make the lock again",
    ),
    "lock/unpinned": _fault(
        "Requirements without a version",
        "each host would get what is newest on its day",
        "make a lock with `uv pip compile --generate-hashes`",
    ),
    "lock/no-hashes": _fault(
        "Requirements without hashes",
        "an index could give each host another file",
        "make the lock with `uv pip compile --generate-hashes`, or set fleet_app.hashes to false",
    ),
    "lock/conflict": _fault(
        "Two versions of one package",
        "a host can have only one of them",
        "remove one, or make one lock of both files with `uv pip compile`",
    ),
    "lock/moving-revision": _fault(
        "A repository without a full commit",
        "a branch or tag may be another revision tomorrow",
        "name the full commit: `name @ git+https://…@commit`",
    ),
    "lock/path": _fault(
        "Requirements from paths that no host has",
        "only what lies in the source, and can be built, goes to the hosts",
        "put them into the source, publish them to an index, or require them from a repository",
    ),
    "lock/sdist": _fault(
        "Requirements without a wheel",
        "to build them, their own code would run on every host",
        "name those that you trust in fleet_app.sdists; an unprivileged user then builds them in a sandbox",
    ),
    "lock/unfetched": _fault(
        "A source that the controller cannot fetch",
        "hosts build packages without a network, from what the controller brings them",
        "let the controller reach the index or the repository, and give what it needs to log in",
    ),
    "lock/unbuildable": _fault(
        "A package whose build needs what the kit does not bring",
        "hosts build packages without a network, with the builders that the kit brings only",
        "build its wheel elsewhere, and put it into an index of your own (fleet_app.indexes)",
    ),
    "lock/credentials": _fault(
        "A password in a lock",
        "it would be in the release, for everyone on every host",
        "remove it there, revoke it, and give a new one in fleet_app.indexes from ansible-vault",
    ),
    "lock/unused-sdist": _warning(
        "A permission to build what the lock does not require",
        "a misspelt name permits nothing",
        "remove it, or spell it as the lock does",
    ),
    "lock/stale": _warning(
        "A lock that is older than its project",
        "the hosts would lack what was required since",
        "make the lock again",
        _PACKAGING,
    ),
    "lock/index": _warning(
        "An index that hosts do not ask",
        "they would look for its packages in the index that their own configuration names, by default PyPI",
        "add it to fleet_app.indexes",
    ),
    # The application's source
    "source/missing": _fault(
        "A source that is not there",
        "there is nothing to deploy",
        "set fleet_app.source to what is on the controller, or in the repository",
    ),
    "source/unreachable": _fault(
        "A repository that cannot be read",
        "there is nothing to deploy",
        "run `git ls-remote` with this URL on the controller, as the user who runs the playbooks",
        "git and OpenSSH",
    ),
    "source/password-in-url": _fault(
        "A password in the URL of a repository",
        "it would stand in logs, in the list of processes and in the mirror's configuration",
        "give it as fleet_app.source.username and fleet_app.source.password, from ansible-vault",
    ),
    "source/unreadable": _fault(
        "Files that the controller's user may not read",
        "the release would lack them",
        "let the user who runs the playbooks read them, or name them in fleet_app.source.exclude",
    ),
    "source/outside-link": _fault(
        "A link that leads out of the source",
        "on the hosts it would lead nowhere, or to a file of the host's",
        "put the file itself there, or name the link in fleet_app.source.exclude",
    ),
    "source/lfs-pointer": _error(
        "Files that git LFS keeps elsewhere",
        "the hosts would get the pointer in place of the file",
        "run `git lfs pull` in the checkout; for a source of type git install git-lfs on the controller",
    ),
    "source/submodule": _error(
        "A submodule that is not checked out",
        "the release would lack its files",
        "run `git submodule update --init --recursive` in the checkout",
    ),
    "source/private-key": _error(
        "A private key in the source",
        "every user of every host may read what is in a release",
        "keep it out of the repository and give it to the application from ansible-vault; one that guards "
        "nothing, such as a test's, is named in fleet_app.source.exclude or accepted",
    ),
    "source/secret-file": _warning(
        "A file in the source that holds secrets by its name",
        "every user of every host may read what is in a release",
        "keep it out of the repository, or name it in fleet_app.source.exclude",
    ),
    "source/large": _warning(
        "A large source",
        "every host gets all of it with every release",
        "name what the application does not need in fleet_app.source.exclude, uploads and data for example",
    ),
    "source/project": _fault(
        "A pyproject.toml that cannot be read",
        "what the project needs and whether it is installed is not known",
        "repair it",
    ),
    "source/not-built": _fault(
        "A project that cannot be built",
        "without it its metadata and entry points are missing",
        "run `uv build --wheel` in the source; set fleet_app.install to false if the application only runs "
        "from its source; give one with compiled modules as a wheel (source.type: package)",
    ),
    # The interpreter
    "python/absent": _error(
        "An interpreter that a host does not have, or that the service may not run",
        "no environment could be made there",
        "name one that is there; install it from the distribution, below /opt/python, or by pyenv or uv "
        "outside of a home directory; or let the controller bring it: {version, archive, sha256}",
        _SYSTEM,
    ),
    "python/unfit": _error(
        "An interpreter on which the application does not run",
        "it would not install, or fail when it is imported",
        "name another interpreter in fleet_app.python, or change requires-python of the application",
    ),
    "python/archive": _fault(
        "An archive of Python that is not what the site says",
        "hosts would run another Python, or none",
        "give the path of a tar archive on the controller and its checksum (`sha256sum`)",
    ),
    # Queues and exchanges
    "queue/two-owners": _fault(
        "A queue of two pools",
        "either pool could take a task of the other",
        "give each pool queues of its own",
        _GUIDE,
    ),
    "queue/no-consumer": _error(
        "Queues that no host consumes",
        "tasks wait in them until they are full and refuse their publishers",
        "put a host in the group of a profile that has the pool, or remove the pool and its routes",
    ),
    "queue/no-routing-key": _fault(
        "A queue without a routing key", "no task would ever reach it", "give the queue a routing_key"
    ),
    "queue/bad-routing-key": _fault(
        "A routing key that does not work",
        "wildcards and over-long keys match what nobody meant, or do not fit beside a delay",
        "use words of letters, digits, '_' and '-' with dots between them",
        _RABBIT,
    ),
    "execution/unknown": _fault(
        "An execution pool that the kit does not run",
        "a worker with solo stands still while a task runs: without heartbeats the broker delivers the task "
        "again, and the worker gives no sign of life and follows no order; eventlet is at its end",
        "use prefork, threads or gevent; concurrency 1 with prefork or threads runs one task at a time",
        _CELERY,
    ),
    "queue/priority-of-quorum": _fault(
        "A range of priorities of quorum queues",
        "a quorum queue takes no x-max-priority: on RabbitMQ 4 it has two levels by itself, where tasks "
        "above priority 4 go first, and on 3 it has none",
        "leave max_priority out and publish with priority 0 or 9 on RabbitMQ 4, give urgent tasks a queue of "
        "their own, or make the pool's queue_type classic",
        _RABBIT,
    ),
    "queue/drops-oldest": _warning(
        "A queue that drops its oldest tasks",
        "a full queue moves its oldest task to the dead letters, and its publisher hears nothing",
        "use reject-publish, so that the publisher gets an error",
        _CELERY,
    ),
    "exchange/two-types": _fault(
        "An exchange of two types",
        "the broker has one exchange of a name, so one of the pools could not be declared",
        "give both pools the same exchange_type, or exchanges of their own",
        _RABBIT,
    ),
    "exchange/binding-clash": _fault(
        "Two queues with one routing key",
        "the exchange would copy each task to both queues, and it would run twice",
        "give each queue of an exchange its own routing key",
        _RABBIT,
    ),
    "exchange/delay-clash": _fault(
        "A routing key that ends another",
        "delayed tasks are bound by the end of their key, would reach both queues, and run twice",
        "give the queues keys of which none ends another",
        "kombu's native delayed delivery",
    ),
    # Routing
    "routing/unknown-queue": _fault(
        "A route to a queue that does not exist",
        "every such task would be refused where it is published",
        "name a queue of a pool",
    ),
    "routing/alias-of-queue": _fault(
        "An alias that is a queue",
        "a pool has a queue of this name, so it could mean either",
        "remove the alias, or rename the queue",
    ),
    "schedule/when": _fault(
        "An entry of the schedule without one time",
        "the scheduler would not know when to send it",
        "give it either every (seconds) or crontab (five fields)",
    ),
    "routing/no-queue": _fault(
        "A rule without a queue", "a task that it matches would go nowhere", "give the rule a queue"
    ),
    "routing/no-condition": _fault(
        "A rule that never matches",
        "a rule without words or task never matches",
        "give it words, or a task pattern",
    ),
    "broker/no-address": _fault(
        "A broker without an address",
        "workers and clients would not know where to connect",
        "give each broker an ansible_host or a broker_address",
    ),
    "broker/same-port": _fault(
        "One port for tasks and for the management API",
        "only one of them can listen there, and the broker does not start",
        "give fleet_broker.port and fleet_broker.management_port different numbers",
    ),
    "broker/contradiction": _fault(
        "A broker of the kit and of somebody else",
        "the kit either installs the broker on the hosts in `brokers`, or uses one that the site has already",
        "set fleet_broker.managed: false and leave the group brokers empty; or remove managed, api and "
        "administrator",
    ),
    "broker/no-login": _fault(
        "A broker of the site's own that the kit cannot work on",
        "the kit has to be told where its management API is, and as whom it works there",
        "set fleet_broker.api and fleet_broker.administrator",
    ),
    "broker/no-authority": _fault(
        "Encrypted connections to a broker whose authority is not named",
        "workers and clients would trust no certificate, and could not connect",
        "set fleet_broker.ca to the file of the authority; a public one is below /etc/ssl/certs",
    ),
    "broker/plain-api": _warning(
        "An administrator's password in the clear",
        "who listens on the network between the controller and the broker reads it",
        "use an address that begins with https://",
        _RABBIT,
    ),
    "broker/forbidden": _fault(
        "Something that the broker's service forbids",
        "the fleet needs it, and whoever runs the broker has not granted it",
        "ask who runs the broker for it",
        _RABBIT,
    ),
    "broker/taken-user": _fault(
        "A user of the broker that is not this fleet's",
        "the kit would replace its password and its rights, and lock out whoever uses it",
        "set fleet_broker.user_prefix, so that the fleet's users have names of their own",
    ),
    "broker/another-fleet": _fault(
        "A virtual host that belongs to another fleet",
        "the run would replace the passwords of its users, and change its queues, under its tasks",
        "set fleet_broker.vhost to one of this fleet's own (docs/use/fleets.md)",
    ),
    "broker/another-file": _fault(
        "A virtual host whose users have the passwords of another site",
        "the run would replace their passwords under the workers and clients that use them",
        "give this fleet a name and a virtual host of its own (docs/use/fleets.md); if the file of secrets "
        "is lost, restore it, or replace all passwords knowingly with -e fleet_new_secrets=true",
    ),
    # The controller
    "controller/precedence": _fault(
        "Ansible without the settings of the site's ansible.cfg",
        "the kit's own model would win over what the inventory's group_vars/all says",
        "run it in the directory of ansible.cfg, or set ANSIBLE_CONFIG to its path; Ansible ignores the file "
        "in a directory in which everybody may write",
    ),
    # Versions
    "versions/unknown": _warning(
        "Versions that cannot be read",
        "whether Celery, kombu and the broker fit each other shows only when a worker starts",
        "pin celery and kombu in the lock file of a directory source; use a distribution that the kit knows, "
        "or set broker_version",
    ),
    "versions/untested": _warning(
        "Versions that the kit was not tested with",
        "settings change their meaning between versions of Celery and RabbitMQ",
        "try the fleet with these versions in the lab first",
    ),
    "worker/bad-argument": _fault(
        "An argument of a worker that the kit sets, or that a unit cannot hold",
        "the kit's own fields say this, or systemd would read it as something else",
        "set the field of the pool instead: queues (-Q), execution (-P), concurrency (-c), autoscale, "
        "prefetch_multiplier, max_tasks_per_child, time_limit, soft_time_limit, demand; or worker_log_level "
        "(-l); the node's name (-n), pidfile, logfile, statedb, user, beat (-B) and --purge are the kit's",
    ),
    "worker/bad-prefix": _fault(
        "A program that cannot start a worker",
        "the unit names the program by its path, and no shell reads the line",
        "name a program of the release, such as opentelemetry-instrument, or an absolute path, and its "
        "arguments as a list",
    ),
    "versions/celery-too-old": _fault(
        "A Celery or kombu before 5.5",
        "it sets a prefetch for the whole channel, which quorum queues refuse, and has no native delays",
        "lock Celery 5.5 or newer, which brings the kombu that it needs",
        "the release notes of Celery and kombu 5.5",
    ),
    "versions/rabbitmq-too-old": _error(
        "A RabbitMQ that lacks what quorum queues need here",
        "before 3.10 they have neither the message TTL that delays are made of nor safe dead-lettering",
        "use RabbitMQ 3.10 or newer (Debian 12 or newer), or queue_type classic",
        _RABBIT,
    ),
    "versions/older-kit": _error(
        "A kit that is older than the one that a host has had",
        "it does not know what the newer one has put there: it removes that, or takes it for something else",
        "use that version or a newer one; to go back on purpose, accept this finding for one run "
        "(docs/use/upgrade.md)",
    ),
    "versions/trusting-broker": _warning(
        "A RabbitMQ whose publishers must be trusted",
        "before 4.0 a header for copies (CC) takes a message past the rights of its publisher, and one "
        "message with a malformed x-death header stops safe dead-lettering on its node",
        "use RabbitMQ 4.0 or newer (Debian 13) where tasks or clients may be hostile",
        "tried on RabbitMQ 3.10.8 and 4.0.5",
    ),
    "versions/refused-broker": _fault(
        "RabbitMQ 4.2.6 or 4.3.0",
        "nobody may look at a queue who may not configure it, as workers may not: they reconnect forever",
        "use RabbitMQ 4.2.7 or 4.3.1, or a newer one",
        "https://github.com/rabbitmq/rabbitmq-server/pull/16085 and 16272",
    ),
    "versions/another-series": _warning(
        "Package sources that have another series of RabbitMQ than the one that runs",
        "an upgrade of the host's packages would stop the node without a drain, and perhaps take a step that "
        "RabbitMQ does not support",
        "upgrade with playbooks/broker_upgrade.yml, which refuses such a step, or state the version in "
        "broker_package_source",
        _RABBIT,
    ),
    "versions/transient-queues": _error(
        "Control queues that RabbitMQ 4.3 refuses",
        "Celery before 5.6 declares its control and event queues neither durable nor exclusive, and RabbitMQ "
        "refuses such queues from 4.3 on: workers reconnect forever",
        "use Celery 5.6 and kombu 5.6 or newer with RabbitMQ 4.3",
        _RABBIT,
    ),
    "versions/no-consumer-timeout": _warning(
        "Classic queues on RabbitMQ 4.3 or newer",
        "the broker no longer takes back tasks from a consumer of a classic queue that hangs",
        "use queue_type quorum where a hung worker must not keep its tasks",
        _RABBIT,
    ),
    "versions/mixed-brokers": _error(
        "Brokers of different versions",
        "a cluster of mixed versions is meant for the hours of an upgrade, and refuses new features",
        "complete the upgrade (playbooks/broker_upgrade.yml), or use the same distribution, or the same "
        "broker_version, on all brokers",
        _RABBIT,
    ),
    # Results
    "results/no-address": _fault(
        "A host of results without an address",
        "workers could not write a result, and clients could not read one",
        "set results_address of the host to the name or address at which the fleet reaches it",
    ),
    "results/several-hosts": _fault(
        "Several hosts for results",
        "each would hold a part of the results, and nobody would know which",
        "leave one host in the group results; its append-only file survives a restart",
    ),
    "results/no-library": _error(
        "Results without a library that reads them",
        "workers and clients could not reach the server of results, and each would end at its start",
        "add celery[redis] to the requirements and lock them again, or remove the group results",
        _CELERY,
    ),
    "results/no-memory": _error(
        "Results that do not fit their host",
        "the kernel would kill a task, the broker or the results when each takes what is planned for it",
        "move the group results to a host without pools, lower fleet_results_memory, or raise "
        "fleet_reserve.memory; beside a broker lower broker_memory_watermark",
        _SYSTEM,
    ),
    "broker/small-disk": _warning(
        "More tasks than a broker's disk holds",
        "a broker whose disk is full refuses all publishers, also those whose queues are empty",
        "lower fleet_broker.max_backlog_mib, or give the brokers larger disks",
        _RABBIT,
    ),
    "broker/plain-management": _warning(
        "A management API that is open in the clear",
        "who listens on the network reads the password of whoever logs in, also that of an administrator",
        "set fleet_tls: true, which encrypts it, or leave broker_management_address at 127.0.0.1 and use "
        "ssh -L 15672:127.0.0.1:15672",
        _RABBIT,
    ),
    "broker/few-connections": _warning(
        "A user that may not have all connections of its workers",
        "the broker refuses those beyond the limit, so tasks fail to publish, or workers to start",
        "raise fleet_broker.max_connections, or run fewer tasks of the pool at once",
        _RABBIT,
    ),
    # Monitoring
    "monitoring/unknown-receiver": _fault(
        "Alerts for a receiver that does not exist",
        "the alerts of this severity would reach nobody",
        "name an entry of fleet_monitoring.receivers",
    ),
    "monitoring/no-receiver": _warning(
        "Alerts that reach nobody",
        "the alerts fire, and are seen only by whoever happens to look",
        "give fleet_monitoring a receiver, and name it in its routes.critical and routes.warning",
    ),
    "monitoring/plain-metrics": _error(
        "Metrics in the clear beside connections that are encrypted",
        "a site's own certificates are those of its servers, so hosts serve their metrics, with the names of "
        "tasks and queues, without encryption, to the addresses of the group `monitoring` only",
        "set fleet_tls_certificates: kit, or accept it where the network between these hosts is trusted",
    ),
    # Encrypted connections
    "tls/ending-certificate": _warning(
        "A certificate that ends soon",
        "after its end every new connection fails, and with an authority's all of the fleet at once",
        "run playbooks/rotate_certificates.yml, for the kit's authority with -e rotate_ca=true; in the last "
        "quarter of tls_renew_before_days (7 of 30 days) it is an error, unless the kit renews it",
    ),
    # The inventory
    "inventory/missing-group": _fault(
        "A missing group",
        "no play finds the hosts that should be in it",
        "add the group to the inventory",
    ),
    "inventory/empty-group": _fault(
        "An empty group", "no play finds a host in it", "add a host to the group"
    ),
    "inventory/many-brokers": _warning(
        "More than seven brokers",
        "every node has a copy of every queue, so each message waits for the majority of all of them",
        "use five brokers, which bear two failures, or seven, which bear three",
        _RABBIT,
    ),
    "inventory/old-brokers": _fault(
        "Brokers that the fleet has not left yet",
        "what waits at the old ones would stay there, and two schedulers could send",
        "run playbooks/broker_move.yml until it says that it is done, then remove the group old_brokers",
    ),
    "inventory/duplicate-broker": _fault(
        "Two brokers of one name",
        "a node of a cluster is called after its host's name without the domain, and must be the only one",
        "give each host its own name (hostnamectl set-hostname)",
    ),
    "inventory/even-brokers": _warning(
        "An even number of brokers",
        "an even number of brokers bears no more failures than one fewer",
        "use 1, 3 or 5",
        _RABBIT,
    ),
    "inventory/idle-worker": _warning(
        "A worker host that runs no pool",
        "it costs money and does nothing",
        "put it in the group of a profile, name a pool in its fleet_host_pools, or take it out",
    ),
    "inventory/outside-workers": _error(
        "A host with a profile outside of the workers",
        "no play reaches it, so its pools never start",
        "make the profile's group a child of the group workers",
    ),
    "inventory/bad-hostname": _fault(
        "A host's name that no unit can hold",
        "systemd and Celery would read its signs as something else, and start other workers or none",
        "give the host a name of letters, digits, '-' and dots (hostnamectl set-hostname)",
        _SYSTEM,
    ),
    "inventory/duplicate-node": _fault(
        "Two hosts of one name",
        "their workers could not be told apart, and Celery's control commands reach both",
        "give each host its own name (hostnamectl set-hostname)",
        _CELERY,
    ),
    "inventory/unreachable": _error(
        "A host from which no facts came",
        "it would be left out silently, and keep its old release, limits and queues",
        "repair the connection, run with --limit to leave it out for now, or take it out of the inventory",
    ),
    "inventory/misspelt-variable": _error(
        "A misspelt variable",
        "nothing reads it, so what it was meant to set silently stays as it was",
        "correct the name, or choose another prefix for a variable of your own",
    ),
    "inventory/unknown-variable": _warning(
        "A variable that nothing reads",
        "nothing reads it, so what it was meant to set silently stays as it was",
        "remove it, or choose another prefix for a variable of your own",
    ),
    "inventory/renamed-variable": _error(
        "A variable under its former name",
        "nothing reads it any more, so what it was meant to set silently stays as it was",
        "use the new name",
    ),
    "inventory/another-fleet": _fault(
        "A host that carries another fleet",
        "the run would take over its pools, its passwords and what its broker holds",
        "give this site hosts of its own; if this is that fleet's site, set fleet_name to its name "
        "(docs/use/fleets.md)",
    ),
    "inventory/another-model": _warning(
        "A host with a model of its own",
        "the broker, the routes and this report follow the fleet's model, so the host may drain other queues",
        "set it for the whole environment; a host differs by fleet_host_pools, a profile by fleet_profiles",
    ),
    "clients/no-such-user": _fault(
        "A user that a client host does not have",
        "nobody can be given the right to publish tasks who is not there",
        "correct the name, or create the user first: mostly a package does, such as that of the web server",
    ),
    # Operating systems
    "os/untested": _warning(
        "A distribution that the kit's tests do not run on",
        "the same steps should work there, but no test of the kit runs on it",
        "try the fleet on one such host first",
    ),
    "os/unsupported": _error(
        "A distribution that the kit does not know",
        "package names, versions and paths may differ",
        "use a distribution that the kit knows, or set preflight_allow_untested_os: true",
    ),
    # Acceptance
    "accept/no-reason": _fault(
        "An acceptance without a reason",
        "nobody will know later why this was right",
        "write why the finding is acceptable here",
    ),
    "accept/unknown": _fault(
        "An acceptance of a finding that does not exist",
        "a finding that was meant by it still refuses the fleet",
        "use an identifier of docs/reference/findings.md, alone or with @host or @variable behind it",
    ),
    "accept/impossible": _fault(
        "An acceptance of a finding that no one can accept",
        "nothing can be derived from what is contradictory or missing",
        "repair what the finding says",
    ),
    "accept/unused": _warning(
        "An acceptance of a finding that did not occur",
        "it would hide the finding if it came back for another reason",
        "remove it",
    ),
}
