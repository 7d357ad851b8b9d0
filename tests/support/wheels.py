"""Small wheels, made by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path


def wheel(
    directory: Path, name: str, version: str = "1.0", files: dict[str, str] | None = None, **about: str
) -> Path:
    """Write a wheel with a module of its name and a script.

    Args:
        directory: Where it goes.
        name: Its name.
        version: Its version.
        files: Further files of it.
        about: Further fields of its metadata.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    information = f"{name}-{version}.dist-info"
    fields = {"Metadata-Version": "2.1", "Name": name, "Version": version, **about}
    content = {
        f"{name}/__init__.py": f"def main():\n    print('{name} {version}')\n",
        **(files or {}),
        f"{information}/METADATA": "".join(f"{key}: {value}\n" for key, value in fields.items()),
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{file},,\n" for file in (*content, f"{information}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**content, f"{information}/RECORD": record}.items():
            archive.writestr(file, text)
    return path
