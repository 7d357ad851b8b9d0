"""Every alert fires when it should and is silent when it nearly should, and no threshold of it is idle."""

import copy
import re
import subprocess

import pytest
import yaml
from fleet.host.metrics import METRICS, PREFIX, Kind
from fleet.monitoring.alerts import ALERTS, alert_rules
from fleet.monitoring.rules import recording_rules
from support import alert_cases as cases
from support.fleet_model import LOADED
from support.prometheus import BROKER_METRICS, OTHER_METRICS, command

# All alerts are tried at once, in one process's run; the oldest Python makes the same rules (test_rules.py).
pytestmark = [pytest.mark.xdist_group("alerts"), pytest.mark.further]

RULES = recording_rules(cases.MODEL, cases.WORKERS, cases.BROKERS, cases.SCHEDULERS)
RECORDS = [rule for group in RULES["groups"] for rule in group["rules"]]
RECORDED = re.compile(r"celery_fleet:[a-z0-9_:]+")
COMPARED = re.compile(r"(?<=[<>=] )(\d+(?:\.\d+)?)|(?<=[<>]= )(\d+(?:\.\d+)?)")
BY = 1.2
# Of what is counted one more makes a difference, and a fifth none.
FEW = 5
# A clause, or an expression, that only asks whether a constant is there.
IS_THERE = re.compile(r"((and|unless) on \([a-z, ]+\) )?celery_fleet:\w+|.*celery_fleet:queue_pool.*")


def constant(rule):
    return rule["expr"].startswith("vector(")


def needed(expression):
    """Return the recording rules that an expression reads, in their order."""
    names, before = set(RECORDED.findall(expression)), set()
    while names != before:
        before = set(names)
        for rule in RECORDS:
            if rule["record"] in names:
                names |= set(RECORDED.findall(rule["expr"]))
    return [rule for rule in RECORDS if rule["record"] in names]


def changed_by(value, by):
    """Return a figure that is a fifth more or less, or one of few."""
    if value < FEW and value.is_integer():
        return value + (1 if by > 1 else -1)
    return value * by


def scaled(rules, name, by, suffix):
    """Return the constants of a name under another one, with other values."""
    changed = []
    for rule in rules:
        if rule["record"] == name:
            value = float(rule["expr"][7:-1])
            expr = f"vector({changed_by(value, by)!r})"
            changed.append({**rule, "record": name + suffix, "expr": expr})
    return changed


def mutants(alert):
    """Return changed rules of an alert by what was changed, and the further constants that they read."""
    rule, found, more = alert.rule(), {}, []

    def changed(what, **fields):
        found[what] = {**rule, "alert": f"{alert.name}__{len(found)}", **fields}

    if alert.minutes:
        changed("for longer", **{"for": f"{alert.minutes * 3}m"})
        changed("for shorter", **{"for": f"{alert.minutes * 20}s"})
    expression = alert.expression
    for match in COMPARED.finditer(expression):
        before, after, value = expression[: match.start()], expression[match.end() :], float(match[0])
        if value:
            for how, by in (("more", BY), ("less", 1 / BY)):
                changed(
                    f"{match[0]} at {match.start()} {how}", expr=f"{before}{changed_by(value, by)}{after}"
                )
        elif before.endswith("> "):
            changed(f"equal to {match[0]} at {match.start()}", expr=f"{before[:-2]}>= {match[0]}{after}")
    for kind in ("only", "unless"):
        for at, clause in enumerate(getattr(alert, kind)):
            left = [each for each in getattr(alert, kind) if each != clause]
            without = copy.copy(alert)
            object.__setattr__(without, kind, tuple(left))
            changed(f"without {kind} {at}: {clause}", expr=without.expression)
    compared = [line for line in expression.splitlines() if not IS_THERE.fullmatch(line)]
    own = set(RECORDED.findall("\n".join(compared)))
    for name in sorted({rule["record"] for rule in RECORDS if constant(rule)} & own):
        for suffix, by in (("__more", BY), ("__less", 1 / BY)):
            more += scaled(RECORDS, name, by, suffix)
            changed(f"{name}{suffix}", expr=re.sub(rf"{name}\b(?!:)", name + suffix, expression))
    return found, more


def moments(alert, case):
    """Return when an alert must be silent yet (none if at once), and when it must fire, in seconds."""
    begin = case.at or 0
    silent = begin + alert.minutes - (1 if alert.minutes > 1 else 0.5)
    return (silent * 60 if alert.minutes else None), (
        begin + alert.minutes + (1 if alert.minutes else 0)
    ) * 60


def checks(alert, rules, case):
    """Return the tests of an alert and of rules that should do the same."""
    silent, firing = moments(alert, case)
    severity = {"severity": alert.severity} if alert.severity else {}
    fired = {
        "exp_labels": {**case.labels, **severity},
        "exp_annotations": {
            "summary": case.summary,
            "command": alert.command,
            "runbook": alert.anchor,
        },
    }
    groups = [(series, [(silent, []), (firing, [fired])]) for series in (case.fires, *case.also)]
    groups += [(near.series, [(near.at * 60 if near.at else firing + 120, [])]) for near in case.near]
    return [
        {
            "name": f"{alert.name} {at}",
            "interval": "30s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [
                {"eval_time": f"{round(time)}s", "alertname": rule["alert"], "exp_alerts": expected}
                for time, expected in looks
                if time is not None
                for rule in rules
            ],
        }
        for at, (series, looks) in enumerate(groups)
    ]


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """Run every case against every alert and its mutants; return those that failed, with what was printed."""
    folder = tmp_path_factory.mktemp("alerts")
    for alert in ALERTS:
        changed, more = mutants(alert)
        rules = [alert.rule(), *changed.values()]
        records = needed(alert.expression)
        groups = {
            "constants": [*filter(constant, records), *more],
            "derived": [rule for rule in records if not constant(rule)],
            "alerts": rules,
        }
        (folder / f"{alert.name}.rules").write_text(
            yaml.safe_dump(
                {"groups": [{"name": name, "rules": each} for name, each in groups.items()]}, width=10_000
            )
        )
        tests = {
            "rule_files": [f"{alert.name}.rules"],
            "evaluation_interval": "30s",
            "group_eval_order": list(groups),
            "tests": checks(alert, rules, cases.CASES[alert.name]),
        }
        (folder / f"{alert.name}.test").write_text(yaml.safe_dump(tests, width=10_000))
    ran = subprocess.run(
        [command("promtool"), "test", "rules", *(f"{alert.name}.test" for alert in ALERTS)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    printed = ran.stdout + ran.stderr
    failed = re.findall(r"alertname: (\w+), time: (\w+),", printed)
    return {name for name, _ in failed}, printed


def test_there_are_cases_for_every_alert():
    assert set(cases.CASES) == {alert.name for alert in ALERTS}
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def about(printed, name):
    """Return what promtool printed of an alert."""
    return "\n".join(part for part in printed.split("    alertname: ")[1:] if part.startswith(f"{name},"))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_it_fires_when_it_should_and_only_then(alert, tried):
    failed, printed = tried
    assert "error" not in printed, printed
    assert alert.name not in failed, about(printed, alert.name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_of_its_figures_and_conditions_counts(alert, tried):
    failed, _ = tried
    changed, _ = mutants(alert)
    assert [what for what, rule in changed.items() if rule["alert"] not in failed] == []


SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.SUMMARY: ("_sum", "_count")}
EXPORTED = {
    f"{PREFIX}{name}{suffix}"
    for name, metric in METRICS.items()
    for suffix in SUFFIXES.get(metric.kind, ("",))
}


def metrics_of(expression):
    """Return the metrics that an expression reads, without those that rules record."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(on|by|group_left|without) \([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|celery_fleet:[\w:]+", "", bare)
    return set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", bare)) - KEYWORDS


KEYWORDS = {"and", "or", "unless", "on", "by", "offset", "bool"}


@pytest.mark.parametrize(
    "rule", [*RECORDS, *(alert.rule() for alert in ALERTS)], ids=lambda rule: rule.get("alert", "record")
)
def test_it_reads_only_metrics_that_are_there(rule):
    read = {word for word in metrics_of(rule["expr"]) if not re.fullmatch(r"\d+[smhd]|[smhd]", word)}
    assert read <= EXPORTED | BROKER_METRICS | OTHER_METRICS
    recorded = {each["record"] for each in RECORDS}
    assert set(RECORDED.findall(rule["expr"])) <= recorded


def test_the_lists_of_others_metrics_hold_no_more_than_what_is_read():
    rules = [*RECORDS, *(alert.rule() for alert in ALERTS)]
    read = set().union(*(metrics_of(rule["expr"]) for rule in rules))
    assert read >= BROKER_METRICS | OTHER_METRICS


def test_the_rules_are_without_fault(tmp_path):
    (tmp_path / "model.yml").write_text(yaml.safe_dump(recording_rules(LOADED, {}, 3, 1)))
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(alert_rules()))
    subprocess.run(
        [command("promtool"), "check", "rules", "--lint=all", "--lint-fatal", "model.yml", "alerts.yml"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
