"""The package as pip installs it, in an environment that knows nothing of the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.fleet_files import PASSWORD, document
from support.fleet_model import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of `make wheel`."""
    (recipe,) = re.findall(r"^wheel:.*\n\t\$\(bin\)/uv (.*) --out-dir", (ROOT / "Makefile").read_text(), re.M)
    directory = tmp_path_factory.mktemp("dist")
    _uv(*recipe.split(), "--offline", "--out-dir", str(directory), cwd=ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel; Celery comes from this one."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    _uv("venv", "--quiet", "--offline", "--python", sys.executable, str(environment))
    interpreter = environment / "bin" / "python"
    _uv("pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(interpreter), str(wheel))
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return interpreter


def _uv(*arguments: str, cwd: Path | None = None) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), *arguments], check=True, cwd=cwd)


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    """The fleet file of a client, with its password."""
    contents = document(secrets=str(tmp_path))
    (tmp_path / "client").write_text(PASSWORD)
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(contents))
    return path


def _run(python: Path, code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY", "PYTHON"))}
    return subprocess.run(
        [python, "-c", code], env=kept | variables, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_what_the_wheel_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    assert "celery_fleet/py.typed" in names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "celery_fleet",
        "celery_fleet_autoconfigure",
    }
    # Everything else that it imports comes with Celery.
    needed = re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)
    assert needed == ["celery>=5.5,<6", "celery[redis] ; extra == 'results'"]
    assert int(version("celery").split(".")[1]) >= 5


LAPTOP = """
import importlib.metadata, celery, celery_fleet
app = celery.Celery("shop", broker="memory://")
app.conf.task_always_eager = True
joined = celery_fleet.configure(app)
@app.task
def double(number): return 2 * number
print(joined, double.delay(21).get(), celery_fleet.__file__, importlib.metadata.version("celery-fleet"))
"""


def test_on_a_laptop_it_does_nothing(python: Path, tmp_path: Path) -> None:
    ended = _run(python, LAPTOP, tmp_path, CELERY_FLEET_FILE=os.devnull)
    joined, result, place, _ = ended.stdout.split()
    assert (joined, result) == ("False", "42"), ended.stderr
    assert Path(place).is_relative_to(python.parents[1])
    assert len(ended.stderr.splitlines()) == 1
    assert "keeps its own broker" in ended.stderr


# Applications as third parties write them, each with how a process comes to it.
PLAIN = {"shop/__init__.py": "", "shop/celery.py": "from celery import Celery\napp = Celery('shop')\n"}
DJANGO = {
    "shop/__init__.py": "from .celery import app as celery_app\n",
    "shop/celery.py": (
        "from celery import Celery\napp = Celery('shop')\napp.conf.update(task_default_queue='mine')\n"
    ),
}
FACTORY = {
    "shop/__init__.py": "",
    "shop/extensions.py": "import celery\nclass _All:\n    app = celery.Celery()\nparts = _All()\n",
    "shop/celery.py": (
        "from shop.extensions import parts\n"
        "parts.app.config_from_object({'task_default_queue': 'mine'})\n"
        "app = parts.app\n"
    ),
}
WAYS = {
    "the module itself": (PLAIN, "shop.celery:app", "from shop.celery import app"),
    "celery's command": (PLAIN, "shop.celery:app", "import celery.bin.celery; from shop.celery import app"),
    "kombu first": (PLAIN, "shop.celery:app", "import kombu; import shop.celery; app = shop.celery.app"),
    "the current app": (PLAIN, "shop.celery:app", "import shop.celery, celery; app = celery.current_app"),
    "the package": (DJANGO, "shop.celery:app", "import shop; app = shop.celery_app"),
    "a factory": (FACTORY, "shop.extensions:parts.app", "from shop.celery import app"),
}
LOOK = """
from celery import Celery
import json
other = Celery("other", set_as_current=False)
print(json.dumps([app.conf.broker_url, app.connection_for_write().as_uri(), type(app.amqp).__name__,
    type(app.control).__name__, app.conf.task_default_queue, other.connection_for_write().as_uri(),
    type(other.amqp).__name__]))
"""


def _write(files: dict[str, str], directory: Path) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("way", WAYS)
def test_an_application_that_knows_nothing_of_it_joins(
    python: Path, tmp_path: Path, fleet_file: Path, way: str
) -> None:
    files, target, code = WAYS[way]
    _write(files, tmp_path)
    told = {"CELERY_FLEET_FILE": str(fleet_file), "CELERY_FLEET_AUTOCONFIGURE": target}
    ended = _run(python, code + LOOK, tmp_path, **told)
    assert ended.returncode == 0, ended.stderr
    shown: Any = json.loads(ended.stdout)
    url = "fleet://client@broker1.example:5672/celery_fleet"
    assert shown[:4] == [[url], url.replace("@", ":**@"), "FleetAMQP", "FleetControl"]
    assert shown[4] == "general_background"
    assert shown[5:] == ["amqp://guest:**@localhost:5672//", "AMQP"]


def test_without_a_target_nothing_is_touched(python: Path, tmp_path: Path, fleet_file: Path) -> None:
    _write(PLAIN, tmp_path)
    ended = _run(python, "from shop.celery import app" + LOOK, tmp_path, CELERY_FLEET_FILE=str(fleet_file))
    assert json.loads(ended.stdout)[2] == "AMQP"


TWICE = """
import traceback
for attempt in range(2):
    try:
        import shop.celery
    except BaseException as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("target", "variables", "expected"),
    [
        ("shop.celery:application", {}, "FleetError .* names shop.celery:application, .* has no Celery .*"),
        ("shop.celery:Celery", {}, "FleetError .* names shop.celery:Celery, .* has no Celery application .*"),
        ("shop.celery", {}, "FleetError .* names shop.celery, .* the form is module:app"),
        ("shop.celery:app", {"CELERY_FLEET_FILE": "/nowhere/fleet.json"}, "FleetFileError .*no such file.*"),
        ("shop.celery:app", {"BROKEN": "1"}, "KeyError .*"),
    ],
)
def test_nobody_imports_an_application_that_could_not_join(
    python: Path, tmp_path: Path, fleet_file: Path, target: str, variables: dict[str, str], expected: str
) -> None:
    _write(PLAIN, tmp_path)
    with (tmp_path / "shop/celery.py").open("a") as module:
        module.write("import os\nif 'BROKEN' in os.environ: raise KeyError('of its own')\n")
    told = {"CELERY_FLEET_FILE": str(fleet_file), "CELERY_FLEET_AUTOCONFIGURE": target, **variables}
    ended = _run(python, TWICE, tmp_path, **told)
    lines = ended.stdout.splitlines()
    assert len(lines) == 2 and all(re.fullmatch(expected, line) for line in lines), ended


CI = """
import os, celery, celery_fleet
app = celery.Celery("shop")
app.conf.task_routes = {"send": {"queue": os.environ["QUEUE"]}}
celery_fleet.configure(app)
"""


@pytest.mark.parametrize(("queue", "status"), [("io_email_sending", 0), ("mail", 3)])
def test_ci_asks_a_copy_of_the_fleet_file_without_a_broker(
    python: Path, tmp_path: Path, queue: str, status: int
) -> None:
    _write({"shop.py": CI, "ci/fleet.json": json.dumps(document("/etc/celery-fleet/secrets"))}, tmp_path)
    _write({"ci/secrets/client": "none\n"}, tmp_path)
    code = "import sys; from celery_fleet.__main__ import main; sys.exit(main(['check', 'shop:app']))"
    ended = _run(python, code, tmp_path, CELERY_FLEET_FILE="ci/fleet.json", QUEUE=queue)
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert ("No pool has the queue mail" in ended.stdout) == bool(status)
