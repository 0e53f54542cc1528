"""report.html: what an export made, measured and compared, on one page that needs no network."""
