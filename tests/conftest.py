"""Settings that hold for every test."""

from hypothesis import HealthCheck, settings

# Every run has the same examples, and how long one takes says more about the machine's other work
# than about the code.
settings.register_profile(
    "tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")
