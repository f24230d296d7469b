"""Self-contained HTML pages: the report of a run, the walk through the blog post."""
