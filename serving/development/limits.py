"""How much one request may ask for. The real server has fewer limits; a reverse proxy sets them there."""

MAX_BODY_BYTES = 100 * 2**20  # of a request, also after a compressed one is unpacked (the real server's cap for that)
MAX_TENSOR_BYTES = 256 * 2**20
MAX_REQUESTS = 256  # at a time, running or waiting; more are refused at once
MAX_WAITING_BYTES = 256 * 2**20  # of all bodies at a time; JSON takes about ten times as much when it is parsed
THREADS = 64  # requests at a time that run in TensorFlow or wait in its batching queue
TIMEOUT = 30.0  # seconds: to send a body, and to be answered
