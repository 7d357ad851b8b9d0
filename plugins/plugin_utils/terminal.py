"""What a terminal needs: text without control characters, and a last line that is redrawn in place."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

# Colours, movements of the cursor and titles of windows, as ECMA-48 writes them.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\n]*?(?:\x07|\x1b\\|(?=\n)|$)|[ -/]*[0-~])")


def harmless(text: str) -> str:
    """Remove from a host's text what would control the terminal of the person who reads it.

    Args:
        text: Any text.

    Returns:
        The same lines without escape sequences, control characters and marks of writing direction.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(each for each in text if each.isprintable() or each in "\n\t\xa0\u3000")


def all_harmless(value: Any) -> Any:  # noqa: ANN401 - a value of any type
    """Do as ``harmless`` with every text in a value.

    Args:
        value: Text, or lists and mappings of texts and other values.

    Returns:
        A copy.
    """
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, Mapping):
        return {all_harmless(key): all_harmless(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_harmless(each) for each in value]
    return value


def one_line(value: object, limit: int = 200) -> str:
    """Write a value on one line.

    Args:
        value: What its text is taken of.
        limit: The most characters.

    Returns:
        Its words, cut with an ellipsis where they are too long.
    """
    text = " ".join(harmless(str(value)).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def fit(text: str, columns: int) -> str:
    """Cut a line to the columns of a terminal.

    Args:
        text: A line.
        columns: How many columns there are.

    Returns:
        As much of the line as they hold; a wide character takes two.
    """
    used = 0
    for at, each in enumerate(text):
        wide = unicodedata.east_asian_width(each) in "WF"
        used += 0 if unicodedata.combining(each) else 1 + wide
        if used > columns:
            return text[:at]
    return text


class LiveLine:
    """The last line of a terminal, redrawn in place, which gives way to whatever else is written."""

    def __init__(self, lock: AbstractContextManager[Any], stream: TextIO, *others: TextIO) -> None:
        """Store a terminal.

        Args:
            lock: Held while anything is written.
            stream: The terminal.
            *others: Further streams that write to the same terminal.
        """
        self._lock, self._stream, self._shown, self._partial = lock, stream, "", False
        self._write = self._watch(stream)
        for other in others:
            self._watch(other)

    def _watch(self, stream: TextIO) -> Callable[[str], int]:
        write = stream.write

        def watched(text: str) -> int:
            with self._lock:
                self._erase()
                self._partial = not text.endswith("\n")
                return write(text)

        # Ansible and its libraries write to the stream itself: its method must know of the line.
        stream.write = watched  # type: ignore[method-assign]
        return write

    def _erase(self) -> None:
        if self._shown:
            self._shown = ""
            self._write("\r\x1b[K")
            self._stream.flush()

    def draw(self, text: str) -> None:
        """Show a line in place of the one before.

        Args:
            text: The line; none if it is empty.
        """
        line = fit(text, shutil.get_terminal_size().columns - 1)
        with self._lock:
            # Never behind the question of a prompt.
            if line == self._shown or self._partial:
                return
            self._erase()
            if line:
                self._write(line)
                self._stream.flush()
            self._shown = line
