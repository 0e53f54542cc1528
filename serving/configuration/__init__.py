"""What servers are configured with: write it (`writing`), check it (`checking`), and the messages of each server."""
