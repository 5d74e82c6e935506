"""For diffusers: where the class is."""
