"""Files by which the kit speaks to the package beside the application."""
