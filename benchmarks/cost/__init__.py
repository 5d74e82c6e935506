"""What things cost: seconds, memory, bytes."""
