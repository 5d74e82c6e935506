"""Videos in: frames, sound, cuts, faces and who is who."""
