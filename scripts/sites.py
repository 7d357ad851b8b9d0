"""Shows the files that make an application of `examples/` a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
# What only the lab has.
LAB: Final = "lab.yml"


def sites() -> list[str]:
    """Return the names of the applications that have a site of their own."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/fleet"))


def site(name: str, raw: dict[str, Any]) -> str:
    """Write the files of an application's site in full, but for those that link to others.

    Args:
        name: Directory of the application.
        raw: The repository's own model.
    """
    inventory = EXAMPLES / name / "fleet"
    files = [inventory / "hosts.yml", *sorted(inventory.glob("group_vars/all/*.yml"))]
    return "\n".join(_file(path, inventory) for path in files if not path.is_symlink() and path.name != LAB)


def _file(path: Path, inventory: Path) -> str:
    text = path.read_text().removeprefix("---\n")
    return f"`{path.relative_to(inventory.parent)}`:\n\n```yaml\n{text}```\n"


def weblate_settings(_: dict[str, Any]) -> str:
    """Write the module of settings that Weblate's site has."""
    return f"```python\n{(EXAMPLES / 'weblate' / 'weblate_site.py').read_text()}```\n"
