"""Fetching waits for the network, drawing keeps a core busy: two kinds of tasks, in a chain."""

import io
import urllib.request
from base64 import b64decode, b64encode

from celery import chain
from celery.canvas import Signature
from PIL import Image

from thumbs.looks import looks
from thumbs.settings import settings
from thumbs.worker import app


@app.task(autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def fetch_image(url: str) -> str:
    """Return an image of the web, as base64."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"no address of the web: {url}")
    with urllib.request.urlopen(url, timeout=settings.fetch_timeout) as response:  # noqa: S310 - checked above
        return b64encode(response.read()).decode()


@app.task
def draw_thumbnail(image: str, size: int, look: str) -> str:
    """Return a PNG of at most this size, as base64."""
    with Image.open(io.BytesIO(b64decode(image))) as opened:
        drawn = looks()[look](opened)
    drawn.thumbnail((size, size))
    target = io.BytesIO()
    drawn.save(target, "PNG")
    return b64encode(target.getvalue()).decode()


def thumbnail(url: str, size: int, look: str) -> Signature:
    """Return what makes a thumbnail of an image of the web."""
    return chain(fetch_image.s(url), draw_thumbnail.s(size, look))
