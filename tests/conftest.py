"""What all tests share."""

from hypothesis import settings

# How long an example takes says more about the machine than about the code. Everybody runs the same examples;
# `--hypothesis-profile explore` looks for new ones.
settings.register_profile("fleet", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, derandomize=False)
settings.load_profile("fleet")
