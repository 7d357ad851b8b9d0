"""Tasks that wait for others. They name no queue: the fleet's router finds it by the words of their names."""

import os
from email.message import EmailMessage
from email.utils import formatdate

from celery import current_task

from demo import outside
from demo.app import app
from demo.files import inside
from demo.samples import dataset

TIMEOUT = 30
"""Seconds that a wait on the network may last."""


@app.task
def call_external_api(endpoint: str, payload: outside.Json) -> outside.Json:
    """Post a payload to an endpoint as JSON and return the JSON of its answer.

    Idempotent as far as the endpoint is: both deliveries carry the task's id as `Idempotency-Key`,
    by which an endpoint knows the second.

    Args:
        endpoint: An http or https address.
        payload: Anything that JSON can hold.
    """
    return outside.request_json(
        endpoint, payload, timeout=TIMEOUT, headers={"Idempotency-Key": current_task.request.id}
    )


@app.task
def upload_file(file_path: str, destination: str) -> str:
    """Copy a file below the demo's directory, with its checksum compared.

    Idempotent: the destination is replaced whole, by the same content.

    Args:
        file_path: The file, relative to the demo's directory.
        destination: The copy, likewise.

    Returns:
        Its SHA-256.
    """
    return outside.copy(dataset(file_path), inside(destination))


@app.task
def send_email(recipient: str, subject: str, body: str) -> str:
    """Send a mail through the server that `DEMO_SMTP_URL` names.

    Idempotent for whoever keeps a Message-ID once, as mailboxes do: it is made from the task's id,
    so both deliveries carry the same.

    Args:
        recipient: A mail address.
        subject: One line.
        body: Plain text.

    Returns:
        The Message-ID.
    """
    message = EmailMessage()
    message["From"] = "demo@celery-fleet.invalid"
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{current_task.request.id}@celery-fleet.invalid>"
    message.set_content(body)
    outside.send_mail(os.environ["DEMO_SMTP_URL"], message, timeout=TIMEOUT)
    return str(message["Message-ID"])
