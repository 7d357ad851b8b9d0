"""The tasks by kind.

Each may be delivered twice (a worker lost, a connection cut), so each is idempotent, and says why.
"""
