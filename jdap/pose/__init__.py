"""Photos of heads changed by geometry: a head model is fitted, given another expression and pose, and drawn."""
