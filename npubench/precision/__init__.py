"""Where precision plans come from."""
