"""What all tests share."""

from hypothesis import HealthCheck, settings

# How long an example takes, or takes to make, says more about the machine than about the code. The
# examples of a test share its fixtures on purpose. Everybody runs the same;
# `--hypothesis-profile explore` looks for new.
UNCHECKED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("fleet", deadline=None, derandomize=True, suppress_health_check=UNCHECKED)
settings.register_profile("explore", deadline=None, derandomize=False, suppress_health_check=UNCHECKED)
settings.load_profile("fleet")
