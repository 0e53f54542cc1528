"""What every builder shares: options, blocks, heads, and the network under construction."""
