"""REST: paths and bodies, JSON to tensors and back, and the page for photos."""
