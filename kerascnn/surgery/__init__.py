"""Models made from models: without the softmax, fully convolutional, without auxiliary classifiers."""
