"""Every layer of the inventory in real runs: what a site changes reaches plan, broker, file and unit."""

import json
import re

import pytest
import yaml
from fleet.model.names import BEAT
from support.ansible_runs import ANSWER, Inventory, Run, facts
from support.fleet_model import LOADED, ROOT

EXAMPLES = ROOT / "docs/examples/overrides"
DECLARED = facts(
    processor_vcpus="{{ fleet_hardware.cores }}", memtotal_mb="{{ fleet_hardware.memory_gib * 1024 }}"
)


@pytest.fixture
def inventory(tmp_path):
    return Inventory(tmp_path)


def shown(name):
    """The lines that the docs show as the plan's answer to an example."""
    page = (ROOT / "docs/use/overrides.md").read_text()
    block = page.split(f"<!-- generated: override_{name} -->")[1].split("<!-- /generated -->")[0]
    return block.split("```text\n")[1].split("```")[0].splitlines()


class Example(Run):
    """An example of the docs, run as it stands there: the plan is the page's, and workers follow it."""

    def __init__(self, path, name):
        super().__init__(path, EXAMPLES / name, [DECLARED, ANSWER])
        run = self.run(playbooks=["plan.yml"])
        assert run.returncode == 0, run.stdout + run.stderr
        assert [line for line in shown(name) if line.strip() not in run.stdout] == []

    def pool(self, host, name):
        return self.result(host)["plan"]["pools"][name]

    def overrides(self, host, name):
        """What a pool has instead, and of which layer."""
        return {o["field"]: (o["value"], o["replaced"], o["by"]) for o in self.pool(host, name)["overrides"]}

    def command(self, host, name):
        """The options on the command line of a pool's worker."""
        (line,) = re.findall("^ExecStart=(.*)", self.unit(host, name), re.MULTILINE)
        words = line.split()
        at = words.index("worker") + 1
        return dict(zip(words[at::2], words[at + 1 :: 2], strict=True))


@pytest.fixture
def example(tmp_path):
    return lambda name: Example(tmp_path, name)


def stops(unit):
    return re.findall(r"^TimeoutStopSec=(.*)", unit, re.MULTILINE)


# A role's variables, each set on one layer more than the one before it.
ROLE_LAYERS = {
    "WatchdogSec": "40",  # the role
    "TimeoutStartSec": "101",  # group_vars/all
    "LimitNOFILE": "2002",  # the environment
    "--loglevel": "ERROR",  # the profile
    "ReadWritePaths": "/srv/host",  # the host
}


def test_a_role_s_variable_follows_the_highest_layer(inventory):
    model = {"worker_start_timeout": 101, "worker_open_files": 1001, "worker_log_level": "DEBUG"}
    model["worker_writable_paths"] = ["/srv/all"]
    (inventory.path / "group_vars/all/site.yml").write_text(yaml.safe_dump(model))
    environment = {"worker_open_files": 2002, "worker_log_level": "INFO"}
    inventory.write("group_vars/all.yml", environment | {"worker_writable_paths": ["/srv/environment"]})
    profile = {"worker_log_level": "ERROR", "worker_writable_paths": ["/srv/profile"]}
    inventory.write("group_vars/cpu_servers.yml", profile)
    inventory.write("host_vars/cpu1.yml", {"worker_writable_paths": ["/srv/host"]})
    run = inventory.run()
    assert run.returncode == 0, run.stdout + run.stderr
    found = dict(re.findall(r"^\s*([A-Za-z-]+)[= ](\S+)\s*$", inventory.unit("cpu1", "cpu"), re.MULTILINE))
    found |= dict(re.findall(r"(--[a-z-]+) (\S+)", inventory.unit("cpu1", "cpu")))
    assert {key: found.get(key) for key in ROLE_LAYERS} == ROLE_LAYERS
    assert "--loglevel INFO" in inventory.unit("memory1", "memory")


def test_each_layer_of_the_inventory_wins_over_the_one_below(inventory):
    inventory.write(
        "group_vars/all.yml",
        {
            "fleet_environment_pools": {
                "cpu": {"max_tasks_per_child": 11},
                "io": {"max_tasks_per_child": 12},
                "memory": {"max_tasks_per_child": 13},
            },
            "fleet_reserve": {"cores": 0.5, "memory": 0.1},
        },
    )
    inventory.write("group_vars/workers.yml", {"fleet_profiles": _profiles(io=22, memory=23)})
    inventory.write("host_vars/memory1.yml", {"fleet_host_pools": {"memory": {"max_tasks_per_child": 33}}})
    run = inventory.run()
    assert run.returncode == 0, run.stdout + run.stderr
    assert _children(inventory, "balanced1", "general") == 500  # group_vars/all of the repository
    assert _children(inventory, "cpu1", "cpu") == 11  # the environment, a field
    assert inventory.result("cpu1")["plan"]["pools"]["cpu"]["concurrency"] == 8  # the environment, a variable
    assert _children(inventory, "balanced1", "io") == 22  # the profile
    assert _children(inventory, "memory1", "memory") == 33  # the host


def _profiles(**children):
    profiles = json.loads(json.dumps(LOADED["profiles"]))
    for profile in profiles.values():
        for name in profile["pools"].keys() & children.keys():
            profile["pools"][name] = {"max_tasks_per_child": children[name]}
    return profiles


def _children(inventory, host, pool):
    found = inventory.result(host)
    assert (
        found["file"]["pools"][pool]["max_tasks_per_child"]
        == found["plan"]["pools"][pool]["max_tasks_per_child"]
    )
    return found["plan"]["pools"][pool]["max_tasks_per_child"]


@pytest.mark.further
def test_an_environment_changes_a_field_of_a_pool(example):
    found = example("environment")
    by = "fleet_environment_pools.io"
    assert found.overrides("balanced1", "io") == {
        "time_limit": (120, 300, by),
        "soft_time_limit": (90, 240, by),
    }
    assert stops(found.unit("balanced1", "io")) == ["180"]
    assert found.result("cpu1")["file"]["pools"]["io"]["time_limit"] == 120


@pytest.mark.further
def test_a_profile_changes_a_field_of_a_pool(example):
    found = example("profile")
    assert found.pool("balanced1", "io")["concurrency"] == 33
    assert found.pool("balanced1", "general")["concurrency"] == 12
    assert found.command("balanced1", "general")["--concurrency"] == "12"


def test_a_host_changes_one_field_of_one_pool(example):
    found = example("host")
    assert found.overrides("cpu1", "cpu") == {"concurrency": (8, 12, "fleet_host_pools.cpu")}
    assert found.pool("cpu1", "cpu")["bound_by"] == "override"
    assert found.command("cpu1", "cpu")["--concurrency"] == "8"
    assert found.command("cpu2", "cpu")["--concurrency"] == "12"

    assert found.overrides("memory1", "memory") == {"time_limit": (10800, 7200, "fleet_host_pools.memory")}
    assert found.command("memory1", "memory")["--time-limit"] == "10800"
    assert stops(found.unit("memory1", "memory")) == ["10860"]
    # Its queue's deliveries may take as long on the broker.
    (policy,) = [
        policy
        for policy in found.result("cpu1")["topology"]["policies"]
        if re.search(policy["pattern"], "memory_aggregations")
    ]
    assert policy["definition"]["consumer-timeout"] >= 10800 * 1000
    assert found.result("memory1")["file"]["pools"]["memory"]["time_limit"] == 10800

    assert found.overrides("balanced1", "io") == {"prefetch_multiplier": (20, 10, "fleet_host_pools.io")}
    assert found.pool("balanced1", "io")["prefetch_count"] == 1000
    assert found.command("balanced1", "io")["--prefetch-multiplier"] == "20"


@pytest.mark.further
def test_a_host_takes_a_second_pool(example):
    found = example("second_pool")
    plan = found.result("memory1")["plan"]["pools"]
    assert {name: pool["concurrency"] for name, pool in plan.items()} == {"memory": 2, "general": 10}
    assert found.command("memory1", "general")["--queues"] == "general_background,general_scheduled"
    assert found.command("balanced1", "general")["--concurrency"] == "10"


def broker_has(found, host, user, exchange, queues):
    """Whether the topology binds these queues, and nothing else, to an exchange."""
    topology = found.result(host)["topology"]
    literal = {
        (binding["destination"], binding["routing_key"])
        for binding in topology["bindings"]
        if binding["source"] == exchange
        and "#" not in binding["routing_key"]
        and binding["destination"] != BEAT
    }
    declared = {queue["name"] for queue in topology["queues"]}
    (worker,) = [right for right in topology["permissions"] if right["user"] == user]
    return (
        literal == set(queues.items())
        and queues.keys() <= declared
        and exchange in {entry["name"] for entry in topology["exchanges"]}
        and re.fullmatch(worker["write"], exchange) is not None
        and all(re.fullmatch(worker["read"], queue) for queue in queues)
    )


@pytest.mark.further
def test_an_environment_adds_a_pool_beside_the_four(example):
    found = example("added_pool")
    queues = {"gpu_inference": "gpu.inference", "gpu_embedding": "gpu.embedding"}
    plan = found.pool("gpu1", "gpu")
    assert (plan["concurrency"], plan["bound_by"], plan["fits"]) == (2, "max", {"cores": 6, "memory": 4})
    assert plan["overrides"] == []
    assert broker_has(found, "cpu1", "worker_gpu", "gpu_tasks", queues)
    for host in ("gpu1", "cpu1"):
        pools = found.result(host)["file"]["pools"]
        assert pools.keys() == {*LOADED["pools"], "gpu"}
        assert pools["gpu"]["queues"] == {name: {"routing_key": key} for name, key in queues.items()}
    assert found.command("gpu1", "gpu") | {
        "--hostname": "gpu_worker_@n@@gpu1",
        "--queues": "gpu_embedding,gpu_inference",
        "--concurrency": "2",
        "--time-limit": "900",
    } == found.command("gpu1", "gpu")
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in found.unit("gpu1", "gpu")
    assert found.pool("cpu1", "cpu")["concurrency"] == 12


@pytest.mark.further
def test_an_environment_has_pools_of_its_own_instead_of_the_four(example):
    found = example("own_pools")
    assert found.result("office1")["plan"]["pools"].keys() == {"reports"}
    assert found.pool("render1", "gpu")["concurrency"] == 4
    assert found.pool("office1", "reports")["concurrency"] == 6
    queues = {"reports_daily": "reports.daily", "reports_adhoc": "reports.adhoc"}
    assert broker_has(found, "office1", "worker_reports", "reports_tasks", queues)
    exchanges = {exchange["name"] for exchange in found.result("office1")["topology"]["exchanges"]}
    assert not exchanges & {pool["exchange"] for pool in LOADED["pools"].values()}
    file = found.result("render1")["file"]
    assert file["pools"].keys() == {"gpu", "reports"}
    assert file["routing"]["default_queue"] == "reports_adhoc"
    assert found.command("office1", "reports")["--queues"] == "reports_adhoc,reports_daily"


@pytest.mark.further
def test_pools_of_one_s_own_need_routes_of_one_s_own(tmp_path):
    variables = yaml.safe_load((EXAMPLES / "own_pools/group_vars/all.yml").read_text())
    del variables["fleet_routing"]
    inventory = tmp_path / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "hosts.yml").symlink_to(EXAMPLES / "own_pools/hosts.yml")
    (inventory / "group_vars/all.yml").write_text(yaml.safe_dump(variables))
    run = Run(tmp_path, inventory, []).run(playbooks=["plan.yml"])
    assert run.returncode != 0
    for variable in ("default_queue", "periodic_queue", "hints.cpu", "rules.io.queue"):
        assert f"fleet_routing.{variable}" in run.stdout
    assert "no pool has this queue" in run.stdout
