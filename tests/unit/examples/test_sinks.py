import contextlib
import json
import smtplib
import socket
import threading
from email.message import EmailMessage
from urllib.error import HTTPError

import pytest
from demo import outside, sinks

RECORD = {"task": "demo.x", "id": "1", "host": "h", "node": "cpu_worker@h", "pool": "cpu", "seconds": 0.1}


def test_echo_answers_what_was_posted(running):
    _, url, _ = running
    payload = {"text": "grüße", "list": [1, None, True]}
    assert outside.request_json(f"{url}/echo", payload, timeout=5) == payload


def test_the_ledger_keeps_records_over_a_restart(running):
    store, url, _ = running
    outside.request_json(f"{url}/ledger", RECORD, timeout=5)
    outside.request_json(f"{url}/ledger", RECORD | {"id": "2"}, timeout=5)
    assert outside.request_json(f"{url}/ledger?after=1", timeout=5) == [RECORD | {"id": "2"}]
    assert outside.request_json(f"{url}/ledger?after=2", timeout=5) == []
    assert sinks.Store(store.directory).records == [RECORD, RECORD | {"id": "2"}]
    assert outside.request_json(f"{url}/summary", timeout=5) == {
        "records": 2,
        "tasks": 2,
        "hosts": {"h": 2},
        "mails": 0,
    }


def test_whoever_waits_for_a_record_gets_it_when_it_comes(running):
    _, url, _ = running
    got = []
    address = f"{url}/ledger?after=0&wait=30"
    waiter = threading.Thread(target=lambda: got.extend(outside.request_json(address, timeout=30)))
    waiter.start()
    outside.request_json(f"{url}/ledger", RECORD, timeout=5)
    waiter.join(10)
    assert got == [RECORD]


@pytest.mark.parametrize(
    ("path", "payload", "status"),
    [
        ("/nothing", None, 404),
        ("/echo", None, 404),
        ("/ledger", {"id": 1}, 400),
        ("/ledger", [], 400),
        ("/ledger?after=x", None, 400),
    ],
)
def test_what_cannot_be_answered_is_refused(running, path, payload, status):
    store, url, _ = running
    with pytest.raises(HTTPError) as refusal:
        outside.request_json(url + path, payload, timeout=5)
    assert refusal.value.code == status
    assert "error" in json.load(refusal.value)
    assert store.records == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("rubbish\r\n", 400),
        ("POST /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413),
        (f"POST /echo HTTP/1.1\r\nContent-Length: {sinks.LIMIT + 1}\r\n\r\n", 413),
    ],
)
def test_a_broken_request_is_refused_and_the_next_one_served(running, text, status):
    _, url, _ = running
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall(text.encode())
        assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
    assert outside.request_json(f"{url}/echo", 1, timeout=5) == 1


def message(number):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.org", "b@example.org", "Hello"
    mail["Message-ID"] = f"<{number}@example.org>"
    mail.set_content(".a line that begins with a dot\n..\nend")
    return mail


def test_a_mail_is_kept_once_however_often_it_is_sent(running):
    store, url, port = running
    for number in (1, 1, 2):
        outside.send_mail(f"smtp://127.0.0.1:{port}", message(number), timeout=5)
    mails = [path.read_text() for path in store.mails.iterdir()]
    assert len(mails) == 2
    assert all("\n.a line that begins with a dot\n..\nend" in mail for mail in mails)
    assert outside.request_json(f"{url}/summary", timeout=5)["mails"] == 2


def test_a_mail_session_follows_the_protocol(running):
    store, _, port = running
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as session:
        assert session.ehlo()[0] == 250
        assert session.docmd("DATA")[0] == 503
        assert session.rcpt("b@example.org")[0] == 503
        assert session.mail("a@example.org")[0] == 250
        assert session.docmd("DATA")[0] == 503
        assert session.rcpt("b@example.org")[0] == 250
        assert session.rset()[0] == 250
        assert session.docmd("DATA")[0] == 503
        assert session.noop()[0] == 250
        assert session.docmd("VRFY x")[0] == 502
        session.sendmail("a@example.org", ["b@example.org", "c@example.org"], "no headers")
    assert [path.read_text().strip() for path in store.mails.iterdir()] == ["no headers"]


def test_a_mail_that_is_too_large_is_not_kept(running, monkeypatch):
    monkeypatch.setattr(sinks, "LIMIT", 1000)
    store, _, port = running
    with pytest.raises(smtplib.SMTPServerDisconnected), smtplib.SMTP("127.0.0.1", port, timeout=5) as session:
        session.sendmail("a@example.org", ["b@example.org"], "x\r\n" * 1000)
    assert list(store.mails.iterdir()) == []


def test_systemd_is_told_when_both_listen(tmp_path, monkeypatch):
    path = str(tmp_path / "n")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        sinks.tell_systemd("READY=1")
        assert manager.recv(100) == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    sinks.tell_systemd("READY=1")
