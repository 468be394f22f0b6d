"""The networks, and how each is built for images of a shape."""
