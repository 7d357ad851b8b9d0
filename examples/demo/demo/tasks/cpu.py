"""Tasks that keep a core busy. Each names its queue itself: `@app.task(queue=…)`."""

import json
import zlib

from demo import computing, video
from demo.app import app
from demo.files import inside, replacing
from demo.samples import dataset


@app.task(queue="cpu_ml_training")
def train_model(model_id: str, dataset_path: str) -> computing.Model:
    """Train a classifier and write it to `models/<model_id>.json`.

    Idempotent: the descent has no chance in it, so a second delivery writes the same weights.

    Args:
        model_id: Name of the model.
        dataset_path: CSV file of numbers, the label (0 or 1) in its last column.
    """
    target = inside("models", f"{model_id}.json")
    *features, labels = computing.read_columns(dataset(dataset_path)).values()
    model = computing.train(list(zip(*features, strict=True)), labels)
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(model))
    return model


@app.task(queue="cpu_video_processing")
def process_video(video_id: str) -> int:
    """Encode a video as `videos/<video_id>.gif`.

    Idempotent: the same id gives the same frames, and the file is replaced whole.

    Args:
        video_id: Name of the video.

    Returns:
        Size of the encoded video in bytes.
    """
    target = inside("videos", f"{video_id}.gif")
    encoded = video.encode(video.draw(zlib.crc32(video_id.encode())))
    with replacing(target) as temporary:
        temporary.write_bytes(encoded)
    return len(encoded)


@app.task(queue="cpu_data_analysis")
def analyze_dataset(dataset_id: str) -> dict[str, computing.Column]:
    """Describe the columns of `samples/<dataset_id>.csv` in `analyses/<dataset_id>.json`.

    Idempotent: it only reads the dataset, and replaces its result whole.

    Args:
        dataset_id: Name of a dataset of numbers.
    """
    target = inside("analyses", f"{dataset_id}.json")
    description = computing.describe(computing.read_columns(dataset(f"samples/{dataset_id}.csv")))
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(description))
    return description
