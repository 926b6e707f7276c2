"""Pages: one HTML file a run, everything inside it, for people to look at in a browser."""
