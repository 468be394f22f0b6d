"""Results and analyses in a notebook: as tables of pandas, and as a few lines of HTML."""
