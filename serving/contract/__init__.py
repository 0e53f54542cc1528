"""What `export` writes for a server: the names of signatures and files, the operators allowed, the warm-up requests."""

DEFAULT_SIGNATURE = "serving_default"  # preprocessed images → probabilities
UINT8_SIGNATURE = "serving_uint8"  # RGB images of one size → the best classes
BYTES_SIGNATURE = "serving_bytes"  # JPEG or PNG files → the best classes

TOP = 5
NOT_READABLE = -1  # in top_ids, for an image that cannot be decoded; its scores are 0 and its labels empty

# A server does not load a model if one of its warm-up requests fails, and a request larger than max_batch_size fails.
# Every batching configuration therefore has to accept the last of these sizes.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
EXTRA = "assets.extra"
WARMUP_FILE = "tf_serving_warmup_requests"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "manifest.json"
