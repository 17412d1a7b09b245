"""Settings of all tests."""

from hypothesis import settings

# Examples are timed on machines that are busy with real clusters at the same time: a slow one is no failure. Seeds of failures
# are printed, so that they can be run again.
settings.register_profile("datacar", deadline=None, print_blob=True)
settings.load_profile("datacar")
