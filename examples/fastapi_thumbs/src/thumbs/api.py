"""The HTTP API: `uvicorn thumbs.api:api`."""

import io
from base64 import b64decode
from importlib.metadata import version
from typing import Annotated
from uuid import UUID

from celery.result import AsyncResult
from fastapi import FastAPI, HTTPException, Response
from PIL import Image
from pydantic import BaseModel, Field, HttpUrl

from thumbs.looks import looks
from thumbs.settings import settings
from thumbs.tasks import thumbnail
from thumbs.worker import app

api = FastAPI(title="thumbs", version=version("thumbs"))


class Wanted(BaseModel):
    """What somebody wants a thumbnail of."""

    url: HttpUrl
    size: Annotated[int, Field(ge=1, le=settings.largest)] = 128
    look: str = "plain"


# Without `async`: publishing waits for the broker, and FastAPI runs these in threads.
@api.post("/thumbnails", status_code=202)
def ask(wanted: Wanted) -> dict[str, str]:
    """Ask for a thumbnail."""
    if wanted.look not in looks():
        raise HTTPException(422, f"no such look: {wanted.look}")
    return {"id": thumbnail(str(wanted.url), wanted.size, wanted.look).apply_async().id}


@api.get("/thumbnails/{number}")
def show(number: UUID) -> Response:
    """Return the thumbnail; 202 while it is not there."""
    result = AsyncResult(str(number), app=app)
    if result.failed():
        raise HTTPException(502, repr(result.result))
    if not result.ready():
        return Response(status_code=202)
    return Response(b64decode(result.result), media_type="image/png")


@api.get("/sample.png")
def sample() -> Response:
    """Return an image to try it with."""
    target = io.BytesIO()
    Image.linear_gradient("L").save(target, "PNG")
    return Response(target.getvalue(), media_type="image/png")
