"""What a network costs."""

from kerascnn.analysis.counting import count_connections, count_macs, count_parameters

__all__ = ["count_connections", "count_macs", "count_parameters"]
