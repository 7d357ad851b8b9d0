"""Ansible as the repository's own configuration sets it up."""

# Before anything is templated: the first use would fix a path without the kit's collection.
import support.collection  # noqa: F401
