"""The models on anybody's photos: reading them, finding the face, and putting what was drawn back in its place."""
