"""Machine families behind one protocol."""
