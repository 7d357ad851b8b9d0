"""The demo application: eight small tasks, a client that publishes them, and the sinks that they reach."""
