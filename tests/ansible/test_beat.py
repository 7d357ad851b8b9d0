"""What the beat role writes, rendered as Ansible does and read as systemd does."""

from __future__ import annotations

from fleet.host.names import installation
from support.units import parse, render


def test_a_scheduler_imports_nothing_that_a_task_can_write_and_stops_before_its_broker() -> None:
    unit = parse(
        render(
            "beat.service.j2",
            role="beat",
            beat_installation=installation("shop"),
            beat_app={
                "name": "shop",
                "celery_app": "shop.app:app",
                "environment": {},
                "secrets": {},
                "working_directory": "",
            },
            beat_file={},
            beat_reads="",
            beat_release="shop-1",
            role_path="roles/beat",
        )
    )
    # Celery puts this directory first in sys.path.
    assert unit["Service"]["WorkingDirectory"] == ["/opt/shop/current"]
    assert unit["Service"]["User"] == unit["Service"]["StateDirectory"] == ["celery-fleet-beat"]
    assert unit["Service"]["Group"] == ["celery-fleet"]
    assert unit["Service"]["ReadWritePaths"] == ["/var/lib/celery-fleet"]
    assert unit["Service"]["SyslogLevelPrefix"] == ["false"]
    # Its class may write to its user's home.
    assert "PYTHONNOUSERSITE=1" in unit["Service"]["Environment"]
    assert unit["Unit"]["After"] == ["network-online.target rabbitmq-server.service"]
    assert unit["Unit"]["Wants"] == ["network-online.target"]
