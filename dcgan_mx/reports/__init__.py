"""Self-contained HTML reports: of a run, and of the blog post's experiments."""
