"""The command line. Each module parses arguments, calls its room and prints; only `serving.cli` imports them."""
