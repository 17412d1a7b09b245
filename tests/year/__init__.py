"""A year of loans and standing orders on four real nodes, whose clocks go day by day: `python -m tests.year`."""
