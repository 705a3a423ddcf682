"""Hardware specs and catalogs: quantities with origin, YAML with places; no machine family."""
