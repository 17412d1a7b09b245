"""The command groups of the `datacar` command line."""
