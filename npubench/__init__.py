"""npubench: what a neural network costs on an accelerator, and how far to trust the answer."""

__version__ = "0.1.0"
