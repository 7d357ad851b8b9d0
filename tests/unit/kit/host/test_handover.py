"""The move of a host from one Unix user for all its pools to one for each."""

import os
import pwd
import subprocess

import pytest
from fleet.host import handover
from fleet.host.handover import hand_over
from fleet.host.names import Name
from fleet.host.prune import prune
from fleet.host.systemd import SystemdError
from support.fake_systemd import FakeSystemd

OLD = """[Service]
Environment=CELERY_FLEET_POOL=io
User=celery-fleet
StateDirectory=celery-fleet
StateDirectoryMode=0750
UMask=0027
ReadWritePaths=/srv/uploads
ReadWritePaths=/srv/more
"""
NEW = OLD.replace("User=celery-fleet", "User=celery-fleet-io").replace("0027", "0007")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeSystemd(tmp_path)
    fake.asked = []

    def call(*command):
        if command[0] != "setpriv":
            return fake(*command)
        fake.asked.append(command)
        # As `find` ends when there was a directory that it may not read.
        raise SystemdError("find: '/srv/more/theirs': Permission denied")

    monkeypatch.setattr(fake.host, "call", call)
    return fake


def instance(fake, text, release="r1"):
    unit = fake.serves("io", release)
    (fake.host.units / unit).write_text(text)
    return fake.host.units / unit


def test_what_old_instances_wrote_and_will_write_is_open_to_the_pools_users(fake):
    unit, kept = instance(fake, OLD), fake.host.config / "units/r0/io.service"
    kept.parent.mkdir(parents=True)
    kept.write_text(OLD)
    hand_over(fake.host)
    for path in (unit, kept):
        assert path.read_text() == OLD.replace("0027", "0007").replace("0750", "0770")
    assert fake.log == ["daemon-reload"]
    (asked,) = fake.asked
    # As the user whose files they are, and not as root.
    assert {"--reuid=celery-fleet", "--no-new-privs"} <= set(asked[:5]) and asked[5] == "find"
    assert asked[6:9] == ("/srv/more", "/srv/uploads", "/var/lib/celery-fleet")


def test_its_last_files_are_opened_when_an_old_instance_has_ended(fake, tmp_path):
    unit = instance(fake, OLD)
    (fake.host.units / "multi-user.target.wants" / unit.name).unlink()
    fake.ends(unit.name)
    prune(fake.host, tmp_path / "opt/demo", "", 3)
    assert len(fake.asked) == 1
    assert not unit.exists()
    prune(fake.host, tmp_path / "opt/demo", "", 3)
    assert len(fake.asked) == 1


def test_where_every_pool_has_its_user_nothing_is_done(fake):
    unit = instance(fake, NEW)
    hand_over(fake.host)
    assert unit.read_text() == NEW
    assert fake.asked == fake.log == []
    assert Name.parse(unit.name)


def test_the_group_may_do_what_the_user_may_and_nobody_else_s_file_changes(tmp_path, monkeypatch):
    """With the commands themselves, as who runs this."""
    user = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(handover, "USER", user)
    folder, secret, report, link = (tmp_path / name for name in ("day", "key", "report", "link"))
    folder.mkdir(mode=0o750)
    secret.touch(mode=0o400)
    report.touch(mode=0o640)
    link.symlink_to(report)
    asked = []

    class Host:
        def call(self, *command):
            asked.append(command)

    handover._open(Host(), [str(tmp_path)])
    ((*command,),) = asked
    find = command[command.index("find") :]
    group = find.index("-group") + 1
    find[group] = str(os.getgid())
    subprocess.run(find, check=True)
    assert [path.stat().st_mode & 0o777 for path in (folder, secret, report)] == [0o770, 0o440, 0o660]
    find[group] = str(os.getgid() + 1)
    report.chmod(0o640)
    subprocess.run(find, check=True)
    assert report.stat().st_mode & 0o777 == 0o640
