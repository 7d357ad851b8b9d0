import asyncio
import json
import threading
from typing import NamedTuple

import pytest
from demo import sinks
from support.fleet_files import document


class Running(NamedTuple):
    store: sinks.Store
    url: str
    smtp_port: int


@pytest.fixture(scope="session")
def demo_app(tmp_path_factory):
    """The demo's application with its tasks, imported once on a host that is in the fleet."""
    folder = tmp_path_factory.mktemp("fleet")
    fleet = folder / "fleet.json"
    (folder / "client").write_text("secret")
    fleet.write_text(json.dumps(document(secrets=str(folder))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELERY_FLEET_FILE", str(fleet))
        from demo.app import app

        app.loader.import_default_modules()
    return app


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The worker's state directory; datasets are small, so that a test takes milliseconds."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("demo.samples.POINTS", 60)
    monkeypatch.setattr("demo.samples.EVENTS", 80)
    return tmp_path / "demo-files"


@pytest.fixture
def running(tmp_path):
    """Both sinks on free ports of the loopback, in a thread: they are real, and their store is at hand."""
    store = sinks.Store(tmp_path / "sinks")
    ready, stops, ports = threading.Event(), [], []

    async def run():
        stop = asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        loop = asyncio.get_running_loop()
        async with sinks.listening(store, "127.0.0.1", 0, 0) as both:
            ports.extend(both)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(5)
    yield Running(store, f"http://127.0.0.1:{ports[0]}", ports[1])
    stops[0]()
    thread.join()
