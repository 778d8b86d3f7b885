"""Measurements of time and memory, as ratios within one run; never part of the tests."""
