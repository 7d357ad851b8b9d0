"""RabbitMQ: the objects that it must have, and how a broker is brought to them."""
