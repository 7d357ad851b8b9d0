"""A key or a password of a private repository is shown by no run, however much it is asked to tell."""

import pytest
from support.ansible_runs import Inventory

LINE = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{LINE}\n-----END OPENSSH PRIVATE KEY-----\n"
PASSWORD = "glpat-hunter2hunter2"
GIT = {"type": "git", "url": "ssh://git@127.0.0.1:9/shop.git", "version": "v1"}


@pytest.mark.parametrize(
    "source",
    [
        GIT | {"key": KEY, "known_hosts": "[127.0.0.1]:9 ssh-ed25519 AAAA"},
        GIT | {"url": "https://127.0.0.1:9/shop.git", "username": "fleet", "password": PASSWORD},
        GIT | {"key": KEY.replace("\n", ""), "password": PASSWORD, "pasword": PASSWORD},
    ],
    ids=["key", "password", "misspelt"],
)
def test_a_key_of_the_repository_is_shown_nowhere(tmp_path, source):
    inventory = Inventory(tmp_path)
    app = {
        "name": "shop",
        "celery_app": "shop.app:app",
        "source": source,
        "requirements": "requirements.lock",
    }
    inventory.write("group_vars/all.yml", {"fleet_app": app})
    run = inventory.run("-vvv")
    assert run.returncode != 0
    assert ("source/unreachable" in run.stdout) == ("pasword" not in source)
    for secret in (LINE, PASSWORD):
        assert secret not in run.stdout + run.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if LINE in path.read_text()]
