"""How good fitted heads are."""
