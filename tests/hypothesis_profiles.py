"""The long profile of ``make fuzz``: a pytest plugin, to be there before ``--hypothesis-profile`` is read."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz",
    max_examples=5_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
