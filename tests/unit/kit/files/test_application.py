"""What a host gets of the application beside its release, who reads it, and what a change replaces."""

import base64
import copy

import pytest
from fleet.files import application
from fleet.host.application import read_variables
from support.broken_models import put

SECRETS = {
    "DATABASE_URL": "postgres://shop:hunter2@db1/shop",
    "STRIPE": {"value": "sk_1", "readers": ["io"]},
    "GOOGLE": {"value": "{}\n", "as": "file", "readers": ["io", "scheduler"]},
    "KEYSTORE": {"value": "AP8=", "as": "file", "encoding": "base64", "readers": ["cpu"]},
}
FILES = {
    "/etc/shop/shop.ini": {"content": "[shop]\n", "mode": "0440"},
    "/etc/shop/key": {"content": "hunter2", "secret": True, "readers": ["clients"], "owner": "www-data"},
    "local_settings.py": {"content": "DEBUG = False\n"},
}


@pytest.fixture
def model(model):
    model["app"] |= {
        "environment": {"REGION": "eu"},
        "secrets": copy.deepcopy(SECRETS),
        "files": copy.deepcopy(FILES),
        "writable": {"/srv/uploads": {"mode": "2775"}},
    }
    return model


def state(model, *groups, **more):
    """What a host of these groups has: contents of files by path, and the other items."""
    found = application.application_state(model, {"name": "a", "groups": [*groups]}, **more)
    contents = {
        item["file"]: base64.b64decode(found["secrets"][item["secret"]])
        for item in found["items"]
        if "secret" in item
    }
    return contents, [item for item in found["items"] if "secret" not in item]


def test_a_host_has_the_secrets_of_the_readers_that_it_runs_and_no_others(model):
    place = "/etc/celery-fleet/application"
    contents, _ = state(model, "balanced_servers")
    url = 'DATABASE_URL="postgres://shop:hunter2@db1/shop"\n'
    assert contents == {
        f"{place}/io.env": f'{url}STRIPE="sk_1"\n'.encode(),
        f"{place}/io-GOOGLE": b"{}\n",
        f"{place}/general.env": url.encode(),
        f"{place}/commands.env": url.encode(),
    }
    contents, _ = state(model, "cpu_servers", schedules=True)
    assert contents[f"{place}/cpu-KEYSTORE"] == b"\x00\xff"
    assert contents[f"{place}/scheduler-GOOGLE"] == b"{}\n"
    assert not [path for path in contents if path.startswith(f"{place}/io")]


def test_a_web_process_finds_its_whole_environment_in_one_file(model):
    contents, _ = state(model, serves=True)
    variables = read_variables(contents["/etc/celery-fleet/application/clients.env"].decode())
    assert variables == {"DATABASE_URL": SECRETS["DATABASE_URL"], "REGION": "eu"}
    assert contents["/etc/shop/key"] == b"hunter2"


def test_only_root_reads_secrets_and_files_say_who_reads_them(model):
    found = application.application_state(model, {"name": "a", "groups": ["cpu_servers"]}, serves=True)[
        "items"
    ]
    items = {item.get("file") or item.get("directory") or item.get("record"): item for item in found}
    assert items["/etc/celery-fleet/application"]["mode"] == "0700"
    assert items["/etc/celery-fleet/application"]["exact"]
    assert {
        item["mode"] for path, item in items.items() if path.startswith("/etc/celery-fleet/application/")
    } == {"0600"}
    assert (items["/etc/shop/shop.ini"]["group"], items["/etc/shop/shop.ini"]["mode"]) == (
        "celery-fleet",
        "0440",
    )
    assert items["/etc/shop/key"]["owner"] == "www-data"
    assert items["/etc/celery-fleet/files.json"]["paths"] == ["/etc/shop/key", "/etc/shop/shop.ini"]
    assert items["/srv/uploads"]["keeps"] == ["owner", "group"]
    assert "local_settings.py" not in items


def test_a_file_of_a_reader_that_the_host_does_not_run_is_not_there(model):
    _, items = state(model, "cpu_servers")
    assert [item["paths"] for item in items if "record" in item] == [["/etc/shop/shop.ini"]]


def test_an_authority_is_a_certificate_of_the_host_and_python_trusts_it(model, certificate):
    # The host would pass over a file with two of them.
    model["app"]["ca_certificates"] = {"company": f"# the root\n{certificate}{certificate}"}
    _, items = state(model, "cpu_servers")
    place = "/usr/local/share/ca-certificates/demo-company"
    found = {item["file"]: item["content"] for item in items if item.get("file", "").startswith(place)}
    assert found == {f"{place}.crt": certificate, f"{place}-2.crt": certificate}
    variables = application.process_environment(model["app"])
    assert variables["SSL_CERT_FILE"] == variables["REQUESTS_CA_BUNDLE"] == application.TRUSTED
    model["app"]["environment"]["SSL_CERT_FILE"] = "/etc/own.pem"
    assert application.process_environment(model["app"])["SSL_CERT_FILE"] == "/etc/own.pem"


@pytest.fixture
def certificate():
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'x').decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("path", "value", "readers"),
    [
        ("app.secrets.DATABASE_URL", "postgres://other", {"cpu", "io", "memory", "general", "scheduler"}),
        ("app.secrets.STRIPE.value", "sk_2", {"io"}),
        ("app.secrets.GOOGLE.value", "{ }", {"io", "scheduler"}),
        ("app.secrets.STRIPE.readers", ["cpu", "io"], {"cpu"}),
        ("app.secrets.STRIPE.readers", ["cpu"], {"cpu", "io"}),
        (
            "app.files./etc/shop/shop.ini",
            {"content": "[more]"},
            {"cpu", "io", "memory", "general", "scheduler"},
        ),
        ("app.files./etc/shop/key", {"content": "other", "readers": ["clients"]}, set()),
        ("app.files.local_settings", {"content": "a = 1"}, set()),
        ("app.environment.REGION", "us", set()),
    ],
)
def test_what_changes_replaces_exactly_its_readers(model, path, value, readers):
    before = application.application_digests(model, "key")
    if path.endswith("shop/shop.ini"):
        model["app"]["files"]["/etc/shop/shop.ini"] = value
    else:
        put(model, path, value)
    after = application.application_digests(model, "key")
    assert {reader for reader in before | after if before.get(reader) != after.get(reader)} == readers


def test_a_digest_is_of_no_use_to_who_guesses_a_secret_without_the_site_s_key(model):
    one, other = (application.application_digests(model, key) for key in ("one", "other"))
    assert not set(one.values()) & set(other.values())


def test_an_application_without_secrets_and_files_has_no_digest(model):
    model["app"] |= {"secrets": {}, "files": {"local.py": {"content": ""}}}
    assert application.application_digests(model, "key") == {}


def test_the_source_of_a_file_counts_by_its_content(model, tmp_path):
    (tmp_path / "ini").write_text("one")
    model["app"]["files"] = {"/etc/shop/ini": {"source": str(tmp_path / "ini"), "readers": ["io"]}}
    before = application.application_digests(model, "key")
    (tmp_path / "ini").write_text("two")
    after = application.application_digests(model, "key")
    assert {reader for reader in before if before[reader] != after[reader]} == {"io"}


def test_no_form_of_a_secret_has_its_value(model):
    forms = application.secret_forms(model["app"])
    assert forms["DATABASE_URL"] == {}
    assert forms["GOOGLE"] == {"as": "file", "readers": ["io", "scheduler"]}
    lines = application.environment_lines({"environment": {}, "secrets": forms}, "scheduler")
    assert lines == [
        "EnvironmentFile=/etc/celery-fleet/application/scheduler.env",
        "LoadCredential=GOOGLE:/etc/celery-fleet/application/scheduler-GOOGLE",
        "SetCredential=GOOGLE:\\n",
        "Environment=GOOGLE=%d/GOOGLE",
    ]
    nothing = application.environment_lines({"environment": {}, "secrets": {}}, "io")
    assert nothing == ["EnvironmentFile=/etc/celery-fleet/application/io.env"]
