"""The Open Inference Protocol for development: Triton's model repository, run by ONNX Runtime, over HTTP and gRPC."""
