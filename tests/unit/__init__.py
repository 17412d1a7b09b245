"""Unit tests: one module of the code each."""
