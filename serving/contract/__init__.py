"""What `export` writes and the rest of serving relies on: names of signatures, their tensors, and the warm-up file."""

DEFAULT_SIGNATURE = "serving_default"  # preprocessed images → probabilities
UINT8_SIGNATURE = "serving_uint8"  # RGB images of one size → the best classes
BYTES_SIGNATURE = "serving_bytes"  # JPEG or PNG files → the best classes

TOP = 5
NOT_READABLE = -1  # in top_ids, for an image that could not be decoded; its scores are 0 and its labels empty

# A server refuses to load a model one of whose warm-up requests fails, and a request larger than max_batch_size fails.
# So every batching configuration has to take the last of these sizes.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
EXTRA = "assets.extra"
WARMUP_FILE = "tf_serving_warmup_requests"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "manifest.json"
