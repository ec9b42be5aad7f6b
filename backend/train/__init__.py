"""Training material, renderer and training of the landmark networks; not for the server."""
