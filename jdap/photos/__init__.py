"""The models on anybody's photos: reading them, finding the face, and putting what was made back in its place."""
