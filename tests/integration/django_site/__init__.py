"""A Django project whose periodic tasks are in its database."""
