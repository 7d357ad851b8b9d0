"""Arguments that the modules of the broker share."""

from __future__ import annotations

from typing import Any, Final

# Documented by the fragment `broker_login`.
LOGIN: Final[dict[str, dict[str, Any]]] = {
    "login_user": {"type": "str", "required": True},
    "login_password": {"type": "str", "required": True, "no_log": True},
    "url": {"type": "str", "default": "http://127.0.0.1:15672"},
    "timeout": {"type": "int", "default": 30},
}
