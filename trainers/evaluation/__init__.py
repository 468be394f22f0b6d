"""What a trained network withstands: attacks, and whether their numbers can be believed."""
