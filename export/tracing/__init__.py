"""From a Keras model to the TensorFlow graph that the formats are written from."""
