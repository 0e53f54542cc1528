"""Run artifacts in their own runtimes, and compare them with the Keras model."""
