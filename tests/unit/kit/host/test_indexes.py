"""uv asks the indexes of a site with their passwords, and shows none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.host.environment import BuildError, Environments
from fleet.host.indexes import index_environment
from fleet.host.pythons import Interpreter
from support.package_index import PASSWORD, USER, digest, package_index, wheel

UV = Path(sys.executable).parent / "uv"
PYTHON = Interpreter(sys.executable, sys.version.split()[0], "x86_64", "2.36", "cpython")
TILL = wheel("till", "1.0")


@pytest.fixture
def indexes() -> Iterator[list[dict[str, str]]]:
    login = {"username": USER, "password": PASSWORD}
    with (
        package_index({"shop-1.0-py3-none-any.whl": wheel("shop", "1.0")}) as first,
        package_index({"till-1.0-py3-none-any.whl": TILL}) as second,
    ):
        yield [{"url": first, **login}, {"url": second, **login}]


def installed(root: Path, indexes: list[dict[str, str]]) -> None:
    lock = root / "lock"
    lock.write_text(f"till==1.0 {digest(TILL)}\n")
    environments = Environments(root / "opt", UV)
    options = ("--no-deps", "--only-binary=:all:", "--require-hashes", f"--requirements={lock}")

    def install(place: Path) -> None:
        environments.install(place, *options, environment=index_environment(indexes))

    environments.make("e1", PYTHON, install)


def test_a_package_of_the_second_index_is_installed(tmp_path: Path, indexes: list[dict[str, str]]) -> None:
    installed(tmp_path, indexes)
    written = [path for path in (tmp_path / "opt").rglob("*") if path.is_file() and not path.is_symlink()]
    assert written
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize("change", [{"password": "wr0ng"}, {"password": ""}])
def test_an_index_that_refuses_is_told_without_the_password(
    tmp_path: Path, indexes: list[dict[str, str]], change: dict[str, str]
) -> None:
    with pytest.raises(BuildError, match="401 Unauthorized") as refusal:
        installed(tmp_path, [indexes[1] | change])
    assert not any(secret in str(refusal.value) for secret in (PASSWORD, "wr0ng"))


def test_without_indexes_the_host_s_configuration_counts() -> None:
    assert index_environment([]) == {}
