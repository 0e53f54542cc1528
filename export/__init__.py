"""From a Keras model to verified SavedModel, TFLite and ONNX artifacts."""
