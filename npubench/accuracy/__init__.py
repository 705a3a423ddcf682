"""Accuracy: measured by executing a plan in onnxruntime, or taken from published tables.

Importing this package loads neither onnx nor onnxruntime; its modules do.
"""
