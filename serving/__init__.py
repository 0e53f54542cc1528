"""TensorFlow Serving: configuration for what `export` wrote."""
