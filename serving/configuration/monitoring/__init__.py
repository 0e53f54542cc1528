"""The metrics of the server, and the dashboard that shows them."""
