"""Triton Inference Server: a model repository of ONNX files, what starts the server, and checks of both."""
