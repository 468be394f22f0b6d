"""Everything found, as a folder: page, figures, tables and data files."""
