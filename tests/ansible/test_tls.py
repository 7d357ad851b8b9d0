"""The role tls on the controller: what it makes, when it makes it anew, and which certificates it refuses."""

from __future__ import annotations

import datetime
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.ansible_runs import ansible

Play = Callable[..., subprocess.CompletedProcess[str]]
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return a function that runs files of the role's tasks for hosts that only have a name."""

    def run(
        hosts: list[str], tasks: list[str], *options: str, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        include = [{"ansible.builtin.include_role": {"name": "tls", "tasks_from": name}} for name in tasks]
        fixed = {"tls_vault_file": str(tmp_path / ".secrets" / "vault.yml")}
        book = {
            "hosts": "all",
            "gather_facts": False,
            "connection": "local",
            "vars": fixed | variables,
            "tasks": include,
        }
        (tmp_path / "play.yml").write_text(yaml.safe_dump([book]))
        return ansible("ansible-playbook", "-i", ",".join([*hosts, ""]), str(tmp_path / "play.yml"), *options)

    return run


def secrets(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / ".secrets" / "vault.yml"
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def recap(text: str) -> dict[str, dict[str, int]]:
    """Return the figures of each host."""
    lines = re.findall(r"(?m)^(\S+)\s+: (ok=.*)$", text)
    return {host: {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", line)} for host, line in lines}


MAKE = ["authority", "certificate"]
NAMES = ["DNS:{{ inventory_hostname }}", "IP:10.0.0.1"]


def test_the_kit_makes_certificates_once_and_anew_before_they_end(play: Play, tmp_path: Path) -> None:
    hosts = ["a", "b", "c"]
    checked = play(hosts, MAKE, "--check", tls_names=NAMES)
    assert checked.returncode == 0, checked.stdout
    assert secrets(tmp_path) == {}

    first = play(hosts, MAKE, tls_names=NAMES)
    assert first.returncode == 0, first.stdout
    made = secrets(tmp_path)
    assert "PRIVATE KEY" not in first.stdout
    authority = x509.load_pem_x509_certificate(made["authority_certificate"].encode())
    for host in hosts:
        found = x509.load_pem_x509_certificate(made[f"host_certificate_{host}"].encode())
        found.verify_directly_issued_by(authority)
        covered = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert covered.get_values_for_type(x509.DNSName) == [host]
        assert [str(each) for each in covered.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
        assert 364 <= (found.not_valid_after_utc - NOW).days <= 365

    again = play(hosts, MAKE, tls_names=NAMES)
    assert {host: figures["changed"] for host, figures in recap(again.stdout).items()} == dict.fromkeys(
        hosts, 0
    )
    assert secrets(tmp_path) == made

    # One is due, another has one more name; of the third nothing is to be done.
    changed = play(
        hosts,
        MAKE,
        tls_names="{{ names + (['DNS:b.example.com'] if inventory_hostname == 'b' else []) }}",
        tls_renew_before_days="{{ 366 if inventory_hostname == 'a' else 30 }}",
        names=NAMES,
    )
    assert changed.returncode == 0, changed.stdout
    renewed = secrets(tmp_path)
    different = {name for name in renewed if renewed[name] != made[name]}
    assert different == {"host_certificate_a", "host_certificate_b"}


def key_pair(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return key


def certificate(
    path: Path,
    key: ec.EllipticCurvePrivateKey,
    name: str,
    issuer: tuple[str, ec.EllipticCurvePrivateKey] | None = None,
    days: int = 100,
) -> None:
    """Write a certificate; without an issuer that of an authority."""
    issued_by, signed_by = issuer or (name, key)

    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    built = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issued_by))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=200))
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signed_by, hashes.SHA256())
    )
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM))


@pytest.mark.further
def test_a_site_s_own_certificate_is_checked(play: Play, tmp_path: Path) -> None:
    authority = key_pair(tmp_path / "ca.key")
    certificate(tmp_path / "ca.pem", authority, "authority")
    stranger = key_pair(tmp_path / "stranger.key")
    issuers = {"foreign": ("stranger", stranger)}
    names = {"other-name": "somebody.example.com", "wildcard": "*.example.com"}
    for host in ("good", "wildcard", "ending", "ended", "other-key", "other-name", "foreign"):
        key = key_pair(tmp_path / f"{host}.key")
        days = {"ended": -1, "ending": 10}.get(host, 100)
        name = names.get(host, f"{host}.example.com")
        issuer = issuers.get(host, ("authority", authority))
        certificate(tmp_path / f"{host}.pem", key, name, issuer, days)
    key_pair(tmp_path / "other-key.key")
    run = play(
        ["good", "wildcard", "ending", "ended", "other-key", "other-name", "foreign"],
        ["own"],
        tls_names=["DNS:{{ inventory_hostname }}.example.com"],
        tls_own_ca=f"{tmp_path}/ca.pem",
        tls_own_certificate=f"{tmp_path}/{{{{ inventory_hostname }}}}.pem",
        tls_own_key=f"{tmp_path}/{{{{ inventory_hostname }}}}.key",
    )
    failed = {host for host, figures in recap(run.stdout).items() if figures["failed"]}
    assert failed == {"ended", "other-key", "other-name", "foreign"}, run.stdout
    said = " ".join((run.stdout + run.stderr).split())
    assert re.search(r"ended\.pem can't be used for ended: it expired on \d{14}Z\.", said)
    assert "its key is not" in said and "it does not cover DNS:other-name.example.com" in said
    assert re.search(r"\[warning\] \S+ending\.pem of ending expires on", said)
    assert "PRIVATE KEY" not in said


def test_certificates_beside_an_inventory_are_no_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("brokers: {hosts: {broker-1: }}\n")
    (tmp_path / "tls").mkdir()
    authority = key_pair(tmp_path / "tls" / "broker-1.key")
    certificate(tmp_path / "tls" / "broker-1.pem", authority, "authority")
    listed = ansible("ansible-inventory", "-i", str(tmp_path), "--list")
    assert listed.returncode == 0
    assert "WARNING" not in listed.stderr, listed.stderr
    assert '"broker-1"' in listed.stdout


def test_a_rotation_keeps_both_authorities_until_it_ends(play: Play, tmp_path: Path) -> None:
    assert play(["a"], MAKE, tls_names=NAMES).returncode == 0
    first = secrets(tmp_path)
    rotation = {"tls_names": NAMES, "tls_replace_authority": True}

    assert play(["a"], ["prepare_authority"], **rotation).returncode == 0
    prepared = secrets(tmp_path)
    assert prepared.keys() - first.keys() == {"authority_next_key", "authority_next_certificate"}
    assert play(["a"], ["exchange_authority"], **rotation).returncode == 0
    exchanged = secrets(tmp_path)
    assert exchanged["authority_certificate"] == prepared["authority_next_certificate"]
    assert exchanged["authority_key"] == prepared["authority_next_key"]
    assert exchanged["authority_old_certificate"] == first["authority_certificate"]

    # An interrupted rotation makes no third authority.
    assert play(["a"], ["prepare_authority", "exchange_authority"], **rotation).returncode == 0
    assert secrets(tmp_path) == exchanged
    assert play(["a"], ["remove_authority"], **rotation).returncode == 0
    assert exchanged.items() - secrets(tmp_path).items() == {
        ("authority_old_certificate", first["authority_certificate"])
    }

    refused = play(["a"], ["prepare_authority"], tls_enabled=False)
    assert refused.returncode == 2
    assert "There are no certificates, because fleet_tls is false." in refused.stdout
