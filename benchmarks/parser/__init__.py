"""The parser of heads that ships: how it was trained on the studio's people, and how good it is."""
