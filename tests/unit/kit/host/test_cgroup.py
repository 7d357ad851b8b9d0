"""What a container may use, read from control groups as kernels show them."""

import pytest
from fleet.host.cgroup import limits, oom_kills

V2_MOUNT = "29 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 {root} /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"""
V1_GROUPS = "9:name=systemd:{path}\n4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/"
GIB = 2**30


@pytest.fixture
def host(tmp_path):
    """Write a host's control groups: mounts, the groups of its init, and files below /sys/fs/cgroup."""

    def write(mounts, groups, files):
        contents = {"proc/self/mountinfo": mounts, "proc/1/cgroup": groups}
        contents |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        for name, text in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return limits(tmp_path)

    return write


def v2(host, files, path="/init.scope", root="/"):
    return host(V2_MOUNT.format(root=root), f"0::{path}", files)


def v1(host, files, path="/init.scope", root="/"):
    return host(V1_MOUNTS.format(root=root), V1_GROUPS.format(path=path), files)


def test_version_2(host):
    found = v2(host, {"cpu.max": "150000 100000", "memory.max": str(4 * GIB)})
    assert found == {"cores": 1.5, "memory_mib": 4096}


def test_version_2_without_limits(host):
    assert v2(host, {"cpu.max": "max 100000", "memory.max": "max"}) == {"cores": None, "memory_mib": None}


def test_version_2_on_the_machine_itself_whose_root_has_no_files(host):
    assert v2(host, {}) == {"cores": None, "memory_mib": None}


def test_the_least_limit_on_the_way_up_counts(host):
    files = {
        "pod.slice/memory.max": str(2 * GIB),
        "pod.slice/cpu.max": "400000 100000",
        "pod.slice/box/memory.max": str(8 * GIB),
        "pod.slice/box/cpu.max": "50000 100000",
        "other.slice/memory.max": str(GIB),
    }
    assert v2(host, files, path="/pod.slice/box/init.scope") == {"cores": 0.5, "memory_mib": 2048}


def test_what_limits_init_alone_does_not_count(host):
    found = v2(host, {"box/init.scope/memory.max": str(GIB)}, path="/box/init.scope")
    assert found["memory_mib"] is None


def test_version_1(host):
    found = v1(
        host,
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "200000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": str(3 * GIB),
        },
    )
    assert found == {"cores": 2, "memory_mib": 3072}


@pytest.mark.parametrize("unlimited", [9223372036854771712, 9223372036854775807])
def test_version_1_without_limits(host, unlimited):
    found = v1(
        host,
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": str(unlimited),
        },
    )
    assert found == {"cores": None, "memory_mib": None}


def test_version_1_nested(host):
    files = {
        "memory/box/memory.limit_in_bytes": str(GIB),
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "cpu,cpuacct/box/cpu.cfs_quota_us": "100000",
        "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
    }
    assert v1(host, files, path="/box") == {"cores": 1, "memory_mib": 1024}


@pytest.mark.parametrize("path", ["/machine/box", "/machine/box/init.scope", "/../..", "/elsewhere"])
def test_a_mount_that_shows_only_the_container_s_own_group(host, path):
    files = {"memory/memory.limit_in_bytes": str(5 * GIB)}
    assert v1(host, files, path=path, root="/machine/box")["memory_mib"] == 5120


def processes_killed(tmp_path, host, mounts, groups, files):
    """Give what is counted in the slice of a process 42."""
    host(mounts, "0::/", files)
    (tmp_path / "proc/42").mkdir()
    (tmp_path / "proc/42/cgroup").write_text(f"{groups}\n")
    return oom_kills("42", "io.slice", tmp_path)


def test_killed_processes_are_counted_in_the_slice_version_2(tmp_path, host):
    files = {
        "fleet.slice/memory.events": "oom_kill 99",
        "fleet.slice/io.slice/memory.events": "low 0\nhigh 7\noom 3\noom_kill 2\noom_group_kill 0",
        "fleet.slice/io.slice/a.service/memory.events": "oom_kill 1",
    }
    groups = "0::/fleet.slice/io.slice/a.service"
    assert processes_killed(tmp_path, host, V2_MOUNT.format(root="/"), groups, files) == 2


def test_killed_processes_are_counted_in_the_slice_version_1(tmp_path, host):
    files = {
        "memory/fleet.slice/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 99",
        "memory/fleet.slice/io.slice/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        "memory/fleet.slice/io.slice/a.service/memory.oom_control": "oom_kill 2",
        "memory/fleet.slice/io.slice/b.service/memory.oom_control": "oom_kill 1",
    }
    groups = V1_GROUPS.format(path="/fleet.slice/io.slice/a.service")
    assert processes_killed(tmp_path, host, V1_MOUNTS.format(root="/"), groups, files) == 3


def test_a_host_without_control_groups(host):
    assert host("", "", {}) == {"cores": None, "memory_mib": None}


def test_this_machine_has_an_answer():
    assert set(limits()) == {"cores", "memory_mib"}
