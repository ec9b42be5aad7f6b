"""Training material, renderer and training of the landmark networks; the server never imports it."""
