import pytest


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The worker's state directory; datasets are small, so that a test takes milliseconds."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("demo.samples.POINTS", 60)
    monkeypatch.setattr("demo.samples.EVENTS", 80)
    return tmp_path / "demo"
