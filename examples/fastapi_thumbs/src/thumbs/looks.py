"""How a thumbnail may look. Other packages add looks with the entry points `thumbs.looks`."""

from collections.abc import Callable
from importlib.metadata import entry_points

from PIL import Image, ImageOps


def plain(image: Image.Image) -> Image.Image:
    """Leave it as it is."""
    return image.convert("RGB")


def grey(image: Image.Image) -> Image.Image:
    """Take the colours out."""
    return ImageOps.grayscale(image)


def looks() -> dict[str, Callable[[Image.Image], Image.Image]]:
    """Return all looks that are installed."""
    return {point.name: point.load() for point in entry_points(group="thumbs.looks")}
