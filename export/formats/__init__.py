"""One function a format: traced model in, file out."""
