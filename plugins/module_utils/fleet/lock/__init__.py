"""The application's lock: what each tool writes, as one text of requirements that the hosts install."""
