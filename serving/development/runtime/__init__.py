"""Loaded models: SavedModels in sessions, their batching, their warm-up, and predictions with them."""
