"""An application that knows nothing of the kit, in a release that configures it: workers and publishers."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.bundle import Application, make_bundle
from fleet.findings import Findings, report
from fleet.lock.types import Wanted
from support.vhost import ROOT, Vhost, temporary_vhost, wait_for

# As larger projects have it: one module makes the app, another configures it, a web process sees only one.
SHOP = {
    "requirements.txt": f"celery==5.7.0 --hash=sha256:{'a' * 64}\n",
    "shop/__init__.py": "",
    "shop/extensions.py": "import celery\n\ncelery_app = celery.Celery()\n",
    "shop/tasks.py": (
        "import os\nfrom pathlib import Path\nfrom shop.extensions import celery_app\n\n"
        "@celery_app.task\ndef send_email(path):\n    Path(path).write_text(str(os.getppid()))\n"
    ),
    "shop/worker.py": (
        "from shop.extensions import celery_app as app\n\n"
        "app.config_from_object({'broker_url': 'redis://elsewhere/0', 'task_default_queue': 'mine',\n"
        "                        'imports': ['shop.tasks'], 'worker_prefetch_multiplier': 9})\n"
    ),
}
WAYS = {
    "web": "import sys; from shop.tasks import send_email; send_email.delay(sys.argv[1])",
    "shell": (
        "import sys; from shop.worker import app; app.send_task('shop.tasks.send_email', (sys.argv[1],))"
    ),
    "celery first": "import sys, celery; from shop.tasks import send_email; send_email.delay(sys.argv[1])",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application as the kit releases it."""
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("release")
    for name, text in SHOP.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    application = Application(
        "shop",
        {"type": "directory", "path": str(source)},
        Wanted("requirements.txt"),
        autoconfigure="shop.extensions:celery_app",
    )
    findings = Findings()
    cache = tmp_path_factory.mktemp("cache")
    bundle = make_bundle(application, ROOT / "celery_fleet", cache / "none", cache, findings)
    assert bundle.archive, report(findings)
    with tarfile.open(bundle.archive) as archive:
        archive.extractall(place, filter="data")
    return place


@pytest.fixture(scope="module")
def vhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vhost]:
    with temporary_vhost(tmp_path_factory.mktemp("t")) as vhost:
        yield vhost


def test_it_is_a_member_wherever_it_is_imported(vhost: Vhost, release: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join((str(release / "src"), str(release / "kit")))}
    worker = vhost.worker(
        "io", "--pool", "prefork", "--concurrency", "1", environment=path, app="shop.worker:app"
    ).ready()
    for name, code in WAYS.items():
        written = vhost.directory / name.replace(" ", "-")
        ended = subprocess.run(
            [sys.executable, "-c", code, str(written)],
            env=vhost.environment(vhost.fleet_file(), **path),
            cwd=vhost.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        wait_for(lambda written=written: written.exists() and written.read_text(), 20, worker.log.read_text())
        assert int(written.read_text()) == worker.process.pid, "a child of the worker ran it"
    assert worker.stop() == 0


def test_the_check_of_a_build_says_whether_it_took_hold(vhost: Vhost, release: Path) -> None:
    def check(app: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join((str(release / "src"), str(release / "kit")))
        return subprocess.run(
            [sys.executable, "-P", "-m", "celery_fleet", "check", app],
            env=vhost.environment(vhost.fleet_file(), PYTHONPATH=path),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    assert (taken := check("shop.worker:app")).returncode == 0, taken.stdout + taken.stderr
    (release / "src/shop/other.py").write_text("from celery import Celery\n\napp = Celery('other')\n")
    missed = check("shop.other:app")
    assert missed.returncode == 3
    assert "fleet_app.autoconfigure names shop.extensions:celery_app, which is another app" in missed.stdout
