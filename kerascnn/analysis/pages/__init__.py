"""Reports as single HTML files: the parts of a page, its charts as Vega-Lite specifications, and the file itself."""
