"""The same random calls on a fresh chain in many environments: hash seeds, locales, time zones, live and replayed."""
