"""An index of packages that asks for a user and a password."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER, PASSWORD = "fleet", "p@ss:w/rd%20#1"


def sdist(name: str, version: str, **more: str) -> bytes:
    """Make a source archive that setuptools can build, with `more` texts as `<name>.toml`."""
    called = f"name={name!r}, version={version!r}, py_modules=[{name!r}]"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "setup.py": f"from setuptools import setup\nsetup({called})\n",
        f"{name}.py": "",
    } | {f"{file}.toml": text for file, text in more.items()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def wheel(name: str, version: str) -> bytes:
    """Make a wheel with one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(file, text)
    return packed.getvalue()


def digest(content: bytes) -> str:
    """Return the option by which a requirement pins a file."""
    return f"--hash=sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def package_index(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve files by the simple interface of indexes, to who gives the password; yields its address."""
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            name = self.path.rstrip("/").rpartition("/")[2]
            content = files.get(name)
            if content is None:
                of = [file for file in files if file.lower().replace("_", "-").startswith(f"{name}-")]
                content = "".join(f'<a href="/files/{file}">{file}</a>' for file in of).encode()
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "application/octet-stream" if name in files else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()
