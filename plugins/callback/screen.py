"""Standard output for a person: what changed, what failed, and what a run waits for."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from ansible import constants, context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from ansible.utils.helpers import pct_to_int
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.progress import (
    Step,
    Tally,
    batch_count,
    changes_text,
    hosts_text,
    message_text,
    named,
    seconds,
    tail,
)
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import (
    LiveLine,
    all_harmless,
    harmless,
    one_line,
)

DOCUMENTATION = """
name: screen
type: stdout
short_description: What changed, what failed, and what a run waits for
description:
  - Shows each step that changed something on one line, with its hosts and its seconds, and counts the others.
    Shows failures at once and in full, and ends with a summary.
  - On a terminal the last line says which step runs, on which hosts and for how long. Otherwise a line says
    so every O(wait_interval) seconds.
  - With C(-v) the output is that of P(ansible.builtin.default#callback).
version_added: 0.1.0
author: celery-fleet
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  wait_interval:
    description: Seconds between two lines about a step that still runs, where the output is no terminal.
    type: float
    default: 30
    env:
      - name: CELERY_FLEET_WAIT_INTERVAL
    ini:
      - section: callback_screen
        key: wait_interval
"""

# Seconds between two looks at the step that runs.
TICK = 0.2
# The most lines of a failed program's output, and of each list of the summary.
TAIL = 20
LISTED = 20
SLOWEST = 5
DEBUG = ("debug", "ansible.builtin.debug")
# It asks the person something on the line that would be redrawn.
ASKS = ("pause", "ansible.builtin.pause")


class Screen(Default):
    """Shows progress; warnings, differences and options are those of Ansible's own callback."""

    def __init__(self) -> None:
        """Start with empty counts."""
        super().__init__()
        self._begun = time.monotonic()
        self._step: Step | None = None
        self._tally: Tally | None = None
        self._batch: tuple[str, int] = ("", 0)
        self._check = False
        self._line: LiveLine | None = None
        self._ended = threading.Event()
        self._watched = False
        self._reported = 0.0
        self._durations: dict[str, float] = {}
        self._changed: dict[str, dict[str, None]] = {}

    # What is written

    def _print(self, text: str, color: str | None = None, failure: bool = False) -> None:
        stderr = failure and self.get_option("display_failed_stderr")
        self._display.display(harmless(text), color=color, stderr=stderr)
        # Ansible flushes at the end only, which is late for a pipe.
        (sys.stderr if stderr else sys.stdout).flush()

    def _print_task_banner(self, task: Any) -> None:  # noqa: ANN401 - Ansible's
        """Name the step above its differences, which Ansible's own callback prints."""
        self._print(f"  {self._at(task).name}", constants.COLOR_HIGHLIGHT)
        self._last_task_banner = task._uuid

    def _get_diff(self, difflist: Any) -> Any:  # noqa: ANN401 - Ansible's
        return super()._get_diff(all_harmless(difflist))

    def _watch(self) -> None:
        """Show what the running step waits for, until the run ends."""
        interval = float(self.get_option("wait_interval"))
        while not self._ended.wait(TICK):
            # What an action shows while it runs is not flushed by Ansible.
            sys.stdout.flush()
            step, now = self._step, time.monotonic()
            if self._line:
                self._line.draw(f"  {step.waiting(now)}" if step and not step.silent else "")
            elif step and step.pending and now - max(step.begun, self._reported) >= interval:
                self._reported = now
                self._print(f"  waiting  {step.waiting(now)}", constants.COLOR_DEBUG)

    # Steps

    def _at(self, task: Any, name: str = "") -> Step:  # noqa: ANN401 - Ansible's
        """Return the step of a task; the one before has ended, unless the strategy lets hosts run ahead."""
        if self._step is None or self._step.uuid != task._uuid:
            self._end_step()
            name = one_line(name or task.get_name())
            if task.check_mode and not self._check:
                name += " [check mode]"
            self._step = Step(name, task._uuid, time.monotonic(), task.action in ASKS)
        return self._step

    def _end_step(self) -> None:
        step, self._step = self._step, None
        if step is None:
            return
        if self._tally:
            self._tally.add(step)
        self._durations[step.name] = max(self._durations.get(step.name, 0.0), step.took)
        if step.changed:
            self._changed.setdefault(step.name, {}).update(dict.fromkeys(step.changed))
            self._print(
                f"  {self._verb()}  {step.name}: {step.changes()} ({seconds(step.took)})",
                constants.COLOR_CHANGED,
            )
        for message in step.shown():
            self._print(message)

    def _end_play(self) -> None:
        self._end_step()
        tally, self._tally = self._tally, None
        if tally and (text := tally.text(time.monotonic())):
            self._print(f"  {text}", constants.COLOR_ERROR if tally.steps["failed"] else constants.COLOR_OK)

    def _verb(self) -> str:
        return "would change" if self._check else "changed"

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ANN401 - Ansible's
        """Show whether it is a check, and begin to watch for long waits."""
        if self._watched:
            return
        self._watched = True
        self._check = bool(context.CLIARGS.get("check"))
        if self._check:
            self._print("check mode: nothing is changed", constants.COLOR_HIGHLIGHT)
        if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            self._line = LiveLine(self._display._lock, sys.stdout, sys.stderr)
        threading.Thread(target=self._watch, daemon=True).start()

    def v2_playbook_on_vars_prompt(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Ansible's
        """Clear the line for the question."""
        self._end_play()

    def v2_playbook_on_play_start(self, play: Any) -> None:  # noqa: ANN401 - Ansible's
        """Write a heading."""
        self._end_play()
        self._play = play
        self._tally = Tally(time.monotonic())
        check = " [check mode]" if play.check_mode and not self._check else ""
        self._print(
            f"\n{one_line(play.get_name())}{self._batch_text(play)}{check}", constants.COLOR_HIGHLIGHT
        )

    def _batch_text(self, play: Any) -> str:  # noqa: ANN401 - Ansible's
        if not play.serial:
            return ""
        # With the names of the batch's hosts, which a play itself does not know.
        variables = play.get_variable_manager().get_vars(play=play)
        hosts, everyone = variables["ansible_play_batch"], variables["ansible_play_hosts_all"]
        before = self._batch[1] if self._batch[0] == play._uuid else 0
        self._batch = (play._uuid, before + 1)
        count = batch_count([pct_to_int(size, len(everyone)) for size in play.serial], len(everyone))
        return f", batch {before + 1} of {count}: {hosts_text(hosts)}" if count > 1 else ""

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Show that a play has no hosts."""
        self._print("  no hosts", constants.COLOR_SKIP)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """Show that a play ends early."""
        self._end_step()
        self._print("  no hosts left", constants.COLOR_ERROR, failure=True)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ANN401 - Ansible's
        """Begin a step."""
        self._at(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:  # noqa: ANN401 - Ansible's
        """Begin a step that another has notified."""
        self._at(task, f"handler: {task.get_name()}")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:  # noqa: ANN401 - Ansible's
        """Record which hosts run the step."""
        self._at(task).pending[host.get_name()] = None

    def v2_playbook_on_include(self, included_file: Any) -> None:  # noqa: ANN401 - Ansible's
        """Print nothing: the steps of the file follow."""

    # Results

    def _ended_on(self, result: Any) -> Step:  # noqa: ANN401 - Ansible's
        step = self._at(result.task)
        step.end(result.host.get_name(), time.monotonic())
        self._handle_warnings(result.result)
        return step

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Record that a host has ended a step."""
        step = self._ended_on(result)
        if isinstance(result.task, TaskInclude):
            return
        label = self.host_label(result)
        if result.is_changed():
            items = step.items.get(label)
            step.changed[label] = named(items) if items else changes_text(result.result)
        else:
            step.ok[label] = None
        if "results" not in result.result:
            self._note_message(step, result)

    def _note_message(self, step: Step, result: Any) -> None:  # noqa: ANN401 - Ansible's
        if result.task.action not in DEBUG:
            return
        data = result.result
        text = message_text(data.get("msg", data.get("censored")))
        if text is None:
            self._clean_results(data, result.task.action)
            text = self._dump_results(data).strip("\n")
        step.messages.setdefault(text, []).append(self.host_label(result))

    def v2_runner_item_on_ok(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Record which items of a loop changed."""
        if isinstance(result.task, TaskInclude):
            return
        step, label = self._at(result.task), one_line(self._get_item_label(result.result), 60)
        self._handle_warnings(result.result)
        if result.is_changed():
            step.items.setdefault(self.host_label(result), []).append(label)
        step.waits[result.host.get_name()] = f"{label} done"
        self._note_message(step, result)

    def v2_runner_on_skipped(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Record that a host skips a step."""
        step = self._ended_on(result)
        if not isinstance(result.task, TaskInclude):
            step.skipped[result.host.get_name()] = None

    def v2_runner_item_on_skipped(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Print nothing for a skipped item."""
        self._handle_warnings(result.result)

    def v2_runner_retry(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Record what a step waits for."""
        data = result.result
        why = tail(str(data.get("stderr") or data.get("stdout") or data.get("msg") or ""), 1)[-1:]
        text = f"attempt {data.get('attempts', '?')} of {data.get('retries', '?')}"
        step = self._at(result.task)
        step.waits[result.host.get_name()] = ", ".join([text, *(one_line(each, 80) for each in why)])

    def v2_runner_on_async_poll(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Record that a step runs in the background."""
        # The result is that of a task which looks at the step's own.
        if self._step:
            self._step.waits[result.host.get_name()] = "runs in the background"

    def v2_runner_on_async_ok(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Print nothing: the task's own result follows."""

    def v2_runner_on_async_failed(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Print nothing: the task's own result follows."""

    # Failures

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ANN401 - Ansible's
        """Show a failure at once."""
        step, label = self._ended_on(result), self.host_label(result)
        # A loop's items have been shown.
        if not ("results" in result.result and label in step.failed):
            self._print_failure("FAILED", result, ignored=ignore_errors)
        elif ignore_errors:
            self._print("    ignored", constants.COLOR_SKIP)
        step.failed[label] = None

    def v2_runner_item_on_failed(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Show at once which item failed."""
        self._handle_warnings(result.result)
        self._at(result.task).failed[self.host_label(result)] = None
        self._print_failure("FAILED", result, item=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Show at once which host cannot be reached."""
        self._ended_on(result).failed[self.host_label(result)] = None
        self._print_failure("UNREACHABLE", result, ignored=bool(result.task.ignore_unreachable))

    def _print_failure(self, kind: str, result: Any, item: bool = False, ignored: bool = False) -> None:  # noqa: ANN401
        """Show the host, the step, the task's file and line, and the reason."""
        data = result.result
        path, _, line = str(result.task.get_path() or "").rpartition(":")
        near = os.path.relpath(path) if path else ""
        place = f" ({path if near.startswith('..') else near}:{line})" if path else ""
        name = self._at(result.task).name
        lines = [f"  {kind}  {one_line(self.host_label(result))}: {name}{place}"]
        if item:
            lines.append(f"    item: {one_line(self._get_item_label(data), 400)}")
        message = message_text(data.get("censored") or data.get("msg"))
        if message is None and "stderr" not in data:
            message = self._dump_results(data)
        lines += [f"    {text_line}" for text_line in harmless(message or "").strip("\n").splitlines()]
        for key in ("cmd", "rc", "assertion"):
            if data.get(key) is not None:
                value = data[key]
                text = " ".join(map(str, value)) if isinstance(value, list) else value
                lines.append(f"    {key}: {one_line(text, 400)}")
        for key in ("stdout", "module_stdout", "stderr", "module_stderr"):
            if data.get(key):
                lines += [f"    {key}:", *(f"      {text_line}" for text_line in tail(str(data[key]), TAIL))]
        if ignored:
            lines.append("    ignored")
        color = constants.COLOR_UNREACHABLE if kind == "UNREACHABLE" else constants.COLOR_ERROR
        self._print("\n".join(lines), color, failure=True)

    # The end

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ANN401 - Ansible's
        """Print the summary."""
        self._end_play()
        self._ended.set()
        if self._line:
            self._line.draw("")
        summaries = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._print("")
        self._print(f"Summary ({seconds(time.monotonic() - self._begun)})", constants.COLOR_HIGHLIGHT)
        groups: dict[str, list[str]] = {}
        for host, counts in summaries.items():
            state = next((key for key in ("unreachable", "failures", "changed") if counts[key]), "ok")
            groups.setdefault(state, []).append(host)
        for state, word, color in (
            ("ok", "unchanged", constants.COLOR_OK),
            ("changed", self._verb(), constants.COLOR_CHANGED),
            ("failures", "failed", constants.COLOR_ERROR),
            ("unreachable", "unreachable", constants.COLOR_UNREACHABLE),
        ):
            if hosts := groups.get(state):
                self._print(f"  {len(hosts)} {word}: {hosts_text(hosts)}", color)
        for key in ("rescued", "ignored"):
            if hosts := [host for host, counts in summaries.items() if counts[key]]:
                self._print(f"  {key} failures: {hosts_text(hosts)}", constants.COLOR_WARN)
        self._print_steps()
        if stats.custom and self.get_option("show_custom_stats"):
            self._print(f"  custom stats: {self._dump_results(stats.custom)}")

    def _print_steps(self) -> None:
        steps = list(self._changed.items())
        if steps:
            self._print(
                f"Steps that {self._verb()}" if self._check else "Changed steps", constants.COLOR_HIGHLIGHT
            )
        for name, labels in steps[:LISTED]:
            self._print(f"  {name}: {hosts_text(labels)}")
        if len(steps) > LISTED:
            self._print(f"  and {len(steps) - LISTED} more, above")
        slowest = sorted(self._durations.items(), key=lambda each: -each[1])[:SLOWEST]
        if slowest:
            self._print("Slowest steps", constants.COLOR_HIGHLIGHT)
        for name, took in slowest:
            self._print(f"  {seconds(took):>8}  {name}")


# At -v and above the output is Ansible's own, entirely.
_Output: Any = Default if Display().verbosity else Screen


class CallbackModule(_Output):  # Ansible tells a plugin's type by this name
    """What Ansible loads."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "celery_fleet.kit.screen"
