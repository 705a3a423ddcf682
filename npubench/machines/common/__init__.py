"""What several families share: formats, vector work, off-chip memory."""
