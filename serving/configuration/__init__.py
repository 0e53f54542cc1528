"""What TensorFlow Serving is configured with: its messages, the files that `init` writes, how they are published."""
