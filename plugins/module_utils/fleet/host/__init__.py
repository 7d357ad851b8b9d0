"""Units, instances and releases on a host. Standard library only: it is copied to hosts and runs there."""
