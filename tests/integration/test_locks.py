"""What is made of a lock of each tool is what an index has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.broken_locks import LOCKS, TOOLS, read

UV = Path(sys.executable).parent / "uv"


@pytest.mark.parametrize("tool", TOOLS)
def test_an_index_has_what_a_lock_says(tmp_path: Path, tool: str) -> None:
    lock, _ = read(LOCKS / tool, TOOLS[tool], sdists=("docopt", "greeting"))
    assert lock
    requirements = tmp_path / "requirements.lock"
    requirements.write_text(lock.wheels_text)
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", f"--target={tmp_path / 'target'}"]
    command = [UV, "pip", "install", "--dry-run", "--python", sys.executable, *options, "-r", requirements]
    settings = os.environ | {"UV_SYSTEM_CERTS": "1", "UV_NO_PROGRESS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    assert "Would install 15 packages" in done.stderr
