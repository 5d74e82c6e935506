"""How people of the studio move: poses and expressions over time."""
