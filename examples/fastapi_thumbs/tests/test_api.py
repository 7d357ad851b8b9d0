"""Tests of the API. Tasks run at once in the test itself, and their results stay in memory."""

import io
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from thumbs.api import api
from thumbs.worker import app

SAMPLE = "http://example.com/sample.png"


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Return a client of the API; the web is the API's own sample."""
    app.conf.update(task_always_eager=True, task_store_eager_result=True, result_backend="cache+memory://")
    with TestClient(api) as client:
        image = client.get("/sample.png").content
        with patch("urllib.request.urlopen", lambda url, timeout: io.BytesIO(image)):
            yield client


@pytest.mark.parametrize(("look", "mode"), [("plain", "RGB"), ("grey", "L")])
def test_a_thumbnail_is_made(client: TestClient, look: str, mode: str) -> None:
    """It has the size and the look that were asked for."""
    asked = client.post("/thumbnails", json={"url": SAMPLE, "size": 32, "look": look})
    assert asked.status_code == 202
    shown = client.get(f"/thumbnails/{asked.json()['id']}")
    with Image.open(io.BytesIO(shown.content)) as image:
        assert (image.size, image.mode) == ((32, 32), mode)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"look": "odd"}, {"url": "file:///etc/passwd"}])
def test_what_cannot_be_made_is_refused(client: TestClient, wrong: dict[str, object]) -> None:
    """Before a task is published."""
    assert client.post("/thumbnails", json={"url": SAMPLE, **wrong}).status_code == 422
