"""Tests: unit, property, vectors, scenarios and real clusters."""
