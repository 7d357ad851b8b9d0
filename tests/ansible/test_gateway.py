"""What the gateway role writes, rendered as Ansible does; nginx itself runs with it."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fleet.host.names import installation
from fleet.monitoring.login import htpasswd
from support.authority import Authority
from support.prometheus import command
from support.units import parse, render
from support.vhost import wait_for

PASSWORD = "correct-horse-battery-staple"
# An address of this process's own, so that nobody else can have the port.
ADDRESS = f"127.87.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
PORT = 18443
CLOSED = ["^/(metrics|healthcheck)", "^/api/"]


def rendered(template: str, **changes: Any) -> str:
    given = {"gateway_installation": installation("shop"), "gateway_address": "10.0.0.7"}
    return render(template, role="gateway", **given | changes)


@pytest.mark.parametrize(
    ("address", "listens"),
    [
        ("10.0.0.7", "listen 10.0.0.7:9090 ssl;"),
        ("2001:db8::7", "listen [2001:db8::7]:9090 ssl;"),
        # By a name, and on the loopback, where the server itself has the port.
        ("watch.example", "listen 192.0.2.9:9090 ssl;"),
        ("127.0.0.1", "listen 192.0.2.9:9090 ssl;"),
        ("localhost", "listen 192.0.2.9:9090 ssl;"),
    ],
)
def test_it_listens_on_an_address_of_the_host(address: str, listens: str) -> None:
    text = rendered(
        "nginx.conf.j2",
        gateway_address=address,
        ansible_facts={"default_ipv4": {"address": "192.0.2.9"}},
        gateway_servers=[{"port": 9090, "upstream": "127.0.0.1:9090"}],
    )
    assert [line.strip() for line in text.splitlines() if "listen " in line] == [listens]


def test_it_has_no_rights_but_the_groups_of_the_sockets_behind_it() -> None:
    service = parse(rendered("gateway.service.j2"))["Service"]
    assert "SupplementaryGroups" not in service
    service = parse(rendered("gateway.service.j2", gateway_groups=["celery-fleet-flower"]))["Service"]
    assert service["SupplementaryGroups"] == ["celery-fleet-flower"]
    assert service["User"] == service["Group"] == ["celery-fleet-gateway"]
    assert (service["CapabilityBoundingSet"], service["NoNewPrivileges"]) == ([""], ["true"])


class Behind(BaseHTTPRequestHandler):
    """A server that tells what it is asked, and lets pages of all sites read it, as Flower does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['Authorization']}".encode())

    do_POST = do_GET  # noqa: N815 - http.server asks for this name

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Site:
    """An nginx that runs."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self.trusted = trusted

    def ask(
        self, path: str, password: str | None = PASSWORD, method: str = "GET", **headers: str
    ) -> tuple[int, str]:
        """Return the status and what came with it."""
        request = urllib.request.Request(f"https://{ADDRESS}:{PORT}{path}", method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if password is not None:
            request.add_header("Authorization", f"Basic {b64encode(f'fleet:{password}'.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.trusted) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One page behind nginx, as the role configures it."""
    place = tmp_path_factory.mktemp("nginx")
    authority = Authority("kit")
    authority.server(ADDRESS, place)
    (certificate,) = place.glob(f"{ADDRESS}-*.pem")
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    text = rendered(
        "nginx.conf.j2",
        __gateway_bind=ADDRESS,
        __gateway_config=str(place),
        __gateway_runtime=str(place),
        gateway_certificate=str(certificate),
        gateway_networks=["127.0.0.0/8", "::1"],
        gateway_servers=[{"port": PORT, "upstream": f"127.0.0.1:{behind.server_port}", "closed": CLOSED}],
    )
    (place / "nginx.conf").write_text(text)
    (place / "htpasswd").write_text(htpasswd({"fleet": PASSWORD, "other": "another-one"}))
    nginx = [command("nginx"), "-e", "stderr", "-c", f"{place}/nginx.conf"]
    # Workers of root's would be nobody.
    nginx += ["-g", "user root;"] if os.geteuid() == 0 else []
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(nginx, stdout=output, stderr=output)
    made = Site(ssl.create_default_context(cadata=authority.pem.decode()))
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return made.ask("/", None)[0] == 401
            except OSError:
                return False

        wait_for(answers, 60, "nginx's answer")
        yield made
    finally:
        process.terminate()
        process.wait()
        behind.shutdown()


def test_nobody_comes_in_without_the_login(site: Site) -> None:
    for path in ("/", "/consoles/fleet.html", "/tasks", "/api/v1/query", "/static/x.css"):
        assert site.ask(path, None)[0] in (401, 403)
        assert site.ask(path, "wrong")[0] in (401, 403)
    assert site.ask("/", None)[0] == site.ask("/", "wrong")[0] == site.ask("/", "another-one")[0] == 401
    # And the server behind learns no password.
    assert site.ask("/tasks?limit=1") == (200, "/tasks?limit=1 None")


@pytest.mark.parametrize(
    "path",
    ["/metrics", "//metrics", "/%6detrics", "/x/../metrics", "/healthcheck", "/api/tasks", "/api//tasks"],
)
def test_what_is_closed_is_closed_to_everybody(site: Site, path: str) -> None:
    assert site.ask(path)[0] == site.ask(path, None)[0] == 403


def test_another_site_s_page_cannot_act_with_the_login_of_a_browser(site: Site) -> None:
    for origin, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        assert site.ask("/act", method="POST", Sec_Fetch_Site=origin)[0] == status
    assert site.ask("/act", method="POST")[0] == 200
    # A link leads to it from anywhere.
    assert site.ask("/tasks", Sec_Fetch_Site="cross-site")[0] == 200


def test_without_tls_nothing_is_answered(site: Site) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(_NoRedirects).open(f"http://{ADDRESS}:{PORT}/tasks", timeout=30)
    assert refused.value.code == 308
    assert refused.value.headers["Location"] == f"https://{ADDRESS}:{PORT}/tasks"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def test_the_file_of_logins_holds_no_password_and_stays_the_same() -> None:
    logins = {"fleet": PASSWORD, "other": PASSWORD}
    text = htpasswd(logins)
    assert text == htpasswd(logins)
    assert PASSWORD not in text
    first, second = (line.partition(":")[2] for line in text.splitlines())
    assert first != second
