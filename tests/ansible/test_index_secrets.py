"""A password of an index is shown by no run, whatever is wrong with the index or with how it is written."""

import pytest
from support.ansible_runs import Inventory
from support.broken_locks import CELERY, write

TOKEN = "pypi-hunter2@hunter2/hunter2"
INDEX = {"url": "http://127.0.0.1:9/simple", "username": "fleet", "password": TOKEN}
LOCK = f"{CELERY}docopt==0.6.2 --hash=sha256:{'b' * 64}\n"


@pytest.mark.parametrize(
    ("indexes", "finding"),
    [
        ([INDEX], "lock/unfetched"),
        ([INDEX | {"pasword": TOKEN, "url": f"https://fleet:{TOKEN}@127.0.0.1:9/"}], "model/bad-value"),
    ],
    ids=["unreachable", "misspelt"],
)
def test_a_password_of_an_index_is_shown_nowhere(tmp_path, indexes, finding):
    inventory = Inventory(tmp_path)
    app = {
        "name": "shop",
        "celery_app": "shop.app:app",
        "source": {"type": "directory", "path": str(write(tmp_path / "shop", {"requirements.txt": LOCK}))},
        "requirements": "requirements.txt",
        "sdists": ["docopt"],
        "indexes": indexes,
    }
    inventory.write("group_vars/all.yml", {"fleet_app": app})
    run = inventory.run("-vvv")
    assert run.returncode != 0
    assert finding in run.stdout
    for secret in (TOKEN, "pypi-hunter2%40hunter2"):
        assert secret not in run.stdout + run.stderr
