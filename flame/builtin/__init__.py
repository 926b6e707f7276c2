"""The head that ships with the package: builder, asset, loader, and statistics to measure one's own."""
