"""Tasks on tables that may be large. One says what it needs (`resource=`), the other is found by its name."""

import json

from demo import tables
from demo.app import app
from demo.files import inside, replacing
from demo.samples import dataset

EVENTS = "samples/events-all.csv"


@app.task(resource="memory")
def aggregate_user_data(date_range: list[str]) -> int:
    """Add up each user's events of a range of days in `aggregates/<first>_<last>.json`.

    Idempotent: it only reads the events, and replaces its result whole.

    Args:
        date_range: First and last day, as 2025-01-31.

    Returns:
        Number of users.
    """
    first, last = date_range
    target = inside("aggregates", f"{first}_{last}.json")
    totals = tables.aggregate(dataset(EVENTS), first, last)
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(totals))
    return len(totals)


@app.task
def import_large_csv(file_path: str) -> int:
    """Import a CSV file of events into `imports.sqlite`.

    Idempotent: a row's key is its file and line, so a second delivery replaces the same rows,
    also those of a first one that was cut off between two batches.

    Args:
        file_path: The file, relative to the demo's directory.

    Returns:
        Number of rows.
    """
    return tables.import_csv(dataset(file_path), inside("imports.sqlite"), source=file_path)
