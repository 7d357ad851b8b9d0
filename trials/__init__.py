"""Loads that prove what became of every task, and the faults that happen under them."""
