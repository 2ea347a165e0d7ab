"""Figures with their uncertainty. docs/statistics.md has each formula and where it is from."""
