"""Reports as one HTML file each: what is on a page, its charts as Vega-Lite specifications, and the file itself."""
