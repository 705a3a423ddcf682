"""Tables and machine-readable forms of results; the only place that prints."""
