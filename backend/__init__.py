"""Everything that runs outside Blender: footage, detection, fitting, baking and the service."""
