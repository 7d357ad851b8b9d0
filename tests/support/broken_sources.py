"""Sources of an application with one fault each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOCK = "celery==5.7.0 --hash=sha256:aa\nkombu==5.7.0 --hash=sha256:bb\nshop==1.4.2 --hash=sha256:cc\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
# Made for this test; it opens nothing.
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo" * 2
    + "\n-----END PRIVATE KEY-----\n"
)
SOUND = {"shop/__init__.py": "", "shop/app.py": "app = 1\n", "requirements.lock": LOCK}
BUILT = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files, with their directories."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def git(root: Path, *arguments: str) -> str:
    """Run git in a directory, as nobody in particular."""
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def repository(root: Path, files: dict[str, str]) -> Path:
    """Make a repository with one commit."""
    write(root, files)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=first")
    return root


def _with(**files: str) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        return _directory(
            write(root / "shop", SOUND | {name.replace("__", "."): text for name, text in files.items()})
        )

    return make


def _directory(root: Path, **fields: Any) -> dict[str, Any]:
    return {"source": {"type": "directory", "path": str(root), **fields}}


def _outside(root: Path) -> dict[str, Any]:
    write(root / "shop", SOUND)
    (root / "shop" / "hosts").symlink_to("/etc/hosts")
    return _directory(root / "shop")


def _submodule(root: Path) -> dict[str, Any]:
    inner = repository(root / "inner", {"lib.py": ""})
    outer = repository(root / "outer", SOUND)
    git(outer, "submodule", "--quiet", "add", str(inner), "inner")
    git(outer, "commit", "--quiet", "--message=second")
    git(root, "clone", "--quiet", str(outer), "checkout")
    return _directory(root / "checkout")


def _unreachable(root: Path) -> dict[str, Any]:
    return {"source": {"type": "git", "url": str(repository(root / "shop", SOUND)), "version": "v9"}}


def _large(root: Path) -> dict[str, Any]:
    write(root / "shop", SOUND)
    with (root / "shop" / "dump.bin").open("wb") as content:
        content.truncate(301 * 2**20)
    return _directory(root / "shop")


# Finding, the variable that is named, and what makes the source and gives what `fleet_app` says of it.
BROKEN_SOURCES: list[tuple[str, str, Callable[[Path], dict[str, Any]]]] = [
    ("source/missing", "fleet_app.source.path", lambda root: _directory(root / "none")),
    (
        "source/missing",
        "fleet_app.source.subdirectory",
        lambda root: _directory(write(root / "shop", SOUND), subdirectory="backend"),
    ),
    (
        "source/missing",
        "fleet_app.source.include",
        lambda root: _directory(write(root / "shop", SOUND), include=["frontend/dist"]),
    ),
    (
        "source/missing",
        "fleet_app.source.requirement",
        lambda root: {
            "source": {"type": "package", "requirement": str(root / "none.whl")},
            "requirements": str(write(root / "shop", SOUND) / "requirements.lock"),
        },
    ),
    ("source/unreachable", "fleet_app.source.url", _unreachable),
    ("source/outside-link", "fleet_app.source.path", _outside),
    ("source/lfs-pointer", "fleet_app.source.path", _with(model__bin=POINTER)),
    ("source/submodule", "fleet_app.source.path", _submodule),
    ("source/private-key", "fleet_app.source.path", _with(server__pem=f"# our server\n{KEY}")),
    (
        "source/secret-file",
        "fleet_app.source.path",
        lambda root: _directory(repository(root / "shop", SOUND | {".env": "DATABASE_URL=x\n"})),
    ),
    ("source/large", "fleet_app.source.path", _large),
    ("source/project", "fleet_app.source.path", _with(pyproject__toml="[project\n")),
    (
        "source/not-built",
        "fleet_app.install",
        lambda root: _directory(write(root / "shop", SOUND)) | {"install": True},
    ),
    (
        "lock/missing",
        "fleet_app.requirements",
        lambda root: _directory(write(root / "shop", SOUND)) | {"requirements": "other.lock"},
    ),
    (
        "lock/missing",
        "fleet_app.requirements",
        lambda root: {
            "source": {"type": "package", "requirement": "shop"},
            "requirements": str(root / "none.lock"),
        },
    ),
    ("lock/no-hashes", "fleet_app.requirements", _with(requirements__lock="celery==5.7.0\nkombu==5.7.0\n")),
    (
        "lock/other-package",
        "fleet_app.source.requirement",
        lambda root: {
            "source": {"type": "package", "requirement": "till==1"},
            "requirements": str(write(root / "shop", SOUND) / "requirements.lock"),
        },
    ),
]
