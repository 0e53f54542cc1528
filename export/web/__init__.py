"""A page that runs an export in the browser, from any static host, without a request to anybody else."""
