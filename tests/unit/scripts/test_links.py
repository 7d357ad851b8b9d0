"""Links between pages, and the pages that the code names, exist."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"(?<![\w/.-])docs/[\w/]+\.(?:md|svg|mmd)\b")
# A path of the repository in a page; one with a placeholder or a star stands for several.
PATH = re.compile(
    r"`((?:bench|celery_fleet|docs|examples|group_vars/all|inventories|lab|molecule|playbooks|plugins|roles|scripts|tests|trials)"
    r"/(?:\w[\w.-]*/?)*)`"
)
TEXT = {"", ".cfg", ".j2", ".md", ".py", ".sh", ".toml", ".yml"}


def files() -> Iterator[Path]:
    """The text files of the repository, without links and what tools leave behind."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name.startswith(".") or path.is_symlink() or path.name == "__pycache__":
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix in TEXT:
                yield path


def anchors(page: Path) -> set[str]:
    """The fragments that the headings of a page make, as GitHub forms them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_relative_link_leads_to_a_page_and_its_heading():
    broken = []
    pages = [path for path in files() if path.suffix == ".md"]
    assert len(pages) > 30
    for page in pages:
        for link in LINK.findall(page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (heading and heading not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_page_that_is_named_anywhere_exists():
    named = {(path, name) for path in files() for name in NAMED.findall(path.read_text())}
    assert len(named) > 20
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in named if not (ROOT / name).exists()] == []


def test_every_path_that_a_page_names_exists():
    pages = [path for path in files() if path.suffix == ".md"]
    named = {(page, name) for page in pages for name in PATH.findall(page.read_text())}
    assert len(named) > 50
    assert [f"{page.relative_to(ROOT)}: {name}" for page, name in named if not (ROOT / name).exists()] == []


def test_the_index_has_every_page():
    index = ROOT / "docs/README.md"
    listed = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert {*index.parent.rglob("*.md")} - {index} == {path for path in listed if path.suffix == ".md"}
