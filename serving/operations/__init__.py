"""What is done with exported models before and while they are served: check, add a version, move labels, load test."""
