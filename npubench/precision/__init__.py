"""Precision plans: where they come from, and what they weigh."""
