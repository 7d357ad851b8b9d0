"""Locks with one fault each: finding, lock, files of the source, what the site says, words of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleet.findings import Findings
from fleet.lock.read import read_lock
from fleet.lock.types import Lock, Wanted
from fleet.source.tree import from_directory

LOCKS = Path(__file__).parent / "locks"
# The real lock of each tool there.
TOOLS = {
    "uv": "uv.lock",
    "poetry": "poetry.lock",
    "pipenv": "Pipfile.lock",
    "pylock": "pylock.toml",
    "requirements": "requirements.txt",
}
HASH = "--hash=sha256:" + "a" * 64
CELERY = f"celery==5.7.0 {HASH}\n"
PYPROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["celery"]\n'
REQUIREMENTS = "requirements.txt"

Case = tuple[str, str, Mapping[str, str], Mapping[str, Any], tuple[str, ...]]

BROKEN_LOCKS: list[Case] = [
    ("lock/missing", "uv.lock", {}, {}, ("the source has no uv.lock",)),
    ("lock/missing", "/nowhere/uv.lock", {}, {}, ("No such file",)),
    ("lock/missing", "/", {}, {}, ("Is a directory",)),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: "celery = 5\n"}, {}, ("celery = 5",)),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: "shop @ https://[::1\n"}, {}, ("Invalid IPv6",)),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: "--index-url\n"}, {}, ()),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: "-r more.txt\n"}, {}, ("more.txt",)),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: f"-r {REQUIREMENTS}\n"}, {}, ("recursively",)),
    (
        "lock/unreadable",
        REQUIREMENTS,
        {REQUIREMENTS: "-r https://e.org/a.txt\n"},
        {},
        ("put the file beside",),
    ),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: "git+https://e.org/a.git@v1\n"}, {}, ("has no name",)),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: "\xff\x00celery"}, {}, ()),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: CELERY}, {"groups": ("dev",)}, ("has no groups", "-r")),
    ("lock/unreadable", REQUIREMENTS, {REQUIREMENTS: CELERY}, {"extras": ("dev",)}, ("has no extras",)),
    ("lock/unreadable", "environment.yml", {"environment.yml": "dependencies:\n"}, {}, ("conda",)),
    ("lock/unreadable", "pyproject.toml", {"pyproject.toml": PYPROJECT}, {}, ("pins nothing", "`uv lock`")),
    (
        "lock/unreadable",
        "setup.py",
        {"setup.py": "import sys"},
        {"python": "python3.12"},
        ("uv pip compile --generate-hashes --python-version 3.12 setup.py",),
    ),
    ("lock/unreadable", "Pipfile", {"Pipfile": "[packages]\n"}, {}, ("`pipenv lock`",)),
    ("lock/unreadable", "uv.lock", {"uv.lock": "version = 1\n"}, {}, ("no pyproject.toml beside it",)),
    ("lock/unreadable", "uv.lock", {"uv.lock": "<<<<<<<\n", "pyproject.toml": PYPROJECT}, {}, ("uv says",)),
    ("lock/unreadable", "pylock.toml", {"pylock.toml": "packages = []\n"}, {}, ("lock-version",)),
    ("lock/unreadable", "pylock.toml", {"pylock.toml": "<<<"}, {}, ("it is no pylock.toml",)),
    (
        "lock/unreadable",
        "pylock.toml",
        {"pylock.toml": (LOCKS / "pylock/pylock.toml").read_text()},
        {"groups": ("test",)},
        ("it has no groups test; it has none",),
    ),
    ("lock/empty", REQUIREMENTS, {REQUIREMENTS: "# nothing\n"}, {}, ()),
    ("lock/no-celery", REQUIREMENTS, {REQUIREMENTS: f"kombu==5.7.0 {HASH}\n"}, {}, ()),
    (
        "lock/unpinned",
        "requirements.in",
        {"requirements.in": "celery\nkombu>=5\nvine==5.*\n"},
        {},
        (
            "celery (requirements.in:1), kombu (requirements.in:2), vine (requirements.in:3)",
            "uv pip compile --generate-hashes --universal requirements.in -o requirements.lock",
        ),
    ),
    (
        "lock/no-hashes",
        REQUIREMENTS,
        {REQUIREMENTS: f"{CELERY}kombu==5.7.0\n"},
        {},
        ("kombu 5.7.0 (requirements.txt:2)", "1 of 2 requirements", "fleet_app.hashes: false"),
    ),
    (
        "lock/conflict",
        REQUIREMENTS,
        {REQUIREMENTS: f"-r base.txt\ncelery==5.6.2 {HASH}\n", "base.txt": CELERY},
        {},
        ("5.7.0 (base.txt:1) and 5.6.2 (requirements.txt:2)",),
    ),
    (
        "lock/moving-revision",
        REQUIREMENTS,
        {REQUIREMENTS: f"{CELERY}shop @ git+https://e.org/shop.git@main\n"},
        {"sdists": ("shop",)},
        ("shop main (requirements.txt:2)",),
    ),
    (
        "lock/path",
        REQUIREMENTS,
        {REQUIREMENTS: f"{CELERY}./wheels/till-1.0-py3-none-any.whl\n"},
        {},
        ("till",),
    ),
    ("lock/path", REQUIREMENTS, {REQUIREMENTS: f"{CELERY}-e ./till\n"}, {}, ("till (requirements.txt:2)",)),
    (
        "lock/sdist",
        "pylock.toml",
        {"pylock.toml": (LOCKS / "pylock/pylock.toml").read_text()},
        {"sdists": ("Greeting",)},
        ("docopt 0.6.2", "fleet_app.sdists: [docopt, greeting]"),
    ),
    (
        "lock/credentials",
        REQUIREMENTS,
        {REQUIREMENTS: f"--extra-index-url https://me:hunter2@pypi.e.org/simple\n{CELERY}"},
        {"indexes": ("https://pypi.e.org/simple",)},
        ("requirements.txt:1",),
    ),
    (
        "lock/credentials",
        REQUIREMENTS,
        {REQUIREMENTS: f"{CELERY}shop @ git+https://hunter2@e.org/shop.git@{'b' * 40}\n"},
        {"sdists": ("shop",)},
        ("requirements.txt:2",),
    ),
    (
        "lock/unused-sdist",
        REQUIREMENTS,
        {REQUIREMENTS: CELERY},
        {"sdists": ("cellery",)},
        ("fleet_app.sdists = cellery",),
    ),
    (
        "lock/stale",
        "uv.lock",
        {
            "uv.lock": (LOCKS / "uv/uv.lock").read_text(),
            "pyproject.toml": (LOCKS / "uv/pyproject.toml").read_text().replace('"docopt", ', ""),
        },
        {"sdists": ("docopt", "greeting")},
        ("does not fit the pyproject.toml", "`uv lock`"),
    ),
    (
        "lock/index",
        REQUIREMENTS,
        {REQUIREMENTS: f"--extra-index-url https://pypi.e.org/simple\n{CELERY}"},
        {"indexes": ("https://elsewhere.e.org/simple",)},
        ("fleet_app.indexes: [{url: https://pypi.e.org/simple}]",),
    ),
]


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a source."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    return root


def reader(root: Path) -> Callable[[str], bytes | None]:
    """Return what reads files of a source."""
    return lambda name: (root / name).read_bytes() if (root / name).is_file() else None


def read(root: Path, requirements: str, **wanted: Any) -> tuple[Lock | None, Findings]:
    """Read the lock of a source in a directory."""
    findings = Findings()
    files = from_directory(root, "src")
    return read_lock(Wanted(requirements, **wanted), files, "src", reader(root), findings), findings
