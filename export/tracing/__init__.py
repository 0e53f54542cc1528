"""Trace a Keras model and freeze it into the TensorFlow graph that the formats are written from."""
