"""What the backend and the Blender add-on both need: messages, their codec and conventions.

Imports the standard library, numpy and msgspec only, and uses relative imports only, so that
the same folder works as the top-level package `shared` and inside the add-on.
"""
