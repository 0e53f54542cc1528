"""A development server: TensorFlow Serving's REST and gRPC interfaces where no container engine is at hand.

TensorFlow runs the models and batches the requests, the stubs of tensorflow-serving-api are the gRPC interface, and
Starlette on uvicorn speaks HTTP. Written here are the mapping between JSON and tensors, the table of versions, and the
map of statuses. Whatever finds a request to be wrong raises a StatusError, which the client gets as the answer.
"""
