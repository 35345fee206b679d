"""What holds for every test: properties are judged by what is true, never by how long an example took."""

from hypothesis import HealthCheck, settings

# A busy machine is no counter-example, neither in the examples nor in making them.
settings.register_profile("mastery", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mastery")
