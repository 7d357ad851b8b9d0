"""RabbitMQ: what must exist in it, and the way from what is there to what must be."""
