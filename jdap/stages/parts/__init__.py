"""What training stages are made of."""
