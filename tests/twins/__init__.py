"""Systematic Byzantine scenarios: a member that runs twice, in every partition, under every primary."""
