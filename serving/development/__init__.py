"""A development server: TensorFlow Serving's REST and gRPC contract where no container engine is at hand.

TensorFlow runs the models and batches the requests, the stubs of tensorflow-serving-api are the gRPC interface, and
Starlette on uvicorn speaks HTTP. What is written here is the mapping between JSON and tensors, the table of versions,
and the map of statuses.
"""
