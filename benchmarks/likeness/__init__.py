"""What draws portraits by a reference that was moved to their heads: how its network was trained."""
