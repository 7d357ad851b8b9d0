"""What a host remembers beside its units."""

from support.fake_systemd import FakeSystemd


def test_a_host_knows_why_a_pool_is_drained(tmp_path):
    host = FakeSystemd(tmp_path).host
    assert host.drained_for("io") == ""
    host.marks.mkdir(parents=True)
    (host.marks / "io").write_text("2026-11-29T10:00:00+0100 a new disk\n")
    assert host.drained_for("io") == "a new disk"
    assert host.drained_for("cpu") == ""
