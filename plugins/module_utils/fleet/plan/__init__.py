"""The plan: what each host is to run, and why that many."""
