"""Publishing: routes, delays, confirmation, and the back-off while a queue is full."""
