"""The command `thumbs`: asks for a thumbnail and waits for it, beside the API."""

import argparse
import sys
from base64 import b64decode

from thumbs.tasks import thumbnail


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="thumbs", description="Write the thumbnail of an image to the output."
    )
    parser.add_argument("url")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--look", default="plain")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait")
    options = parser.parse_args()
    image = thumbnail(options.url, options.size, options.look).apply_async().get(timeout=options.timeout)
    sys.stdout.buffer.write(b64decode(image))
