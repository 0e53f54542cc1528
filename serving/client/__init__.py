"""A client for TensorFlow Serving and the development server. It needs neither TensorFlow nor Keras.

from serving.client import Client

with Client("http://127.0.0.1:8501", "squeezenet") as client:
    for predictions in client.classify(["cat.jpg", "dog.png"]):
        print(predictions[0].label, predictions[0].score)
"""

from serving.client.client import Client, Prediction
from serving.client.errors import (
    BadRequestError,
    ClientError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    ServerError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
    UnreadableImageError,
)
from serving.client.wire import VersionStatus

__all__ = [
    "BadRequestError",
    "Client",
    "ClientError",
    "NotFoundError",
    "OverloadedError",
    "Prediction",
    "RefusedError",
    "ServerError",
    "TimedOutError",
    "TooLargeError",
    "UnreachableError",
    "UnreadableImageError",
    "VersionStatus",
]
