"""Fitting the head model to landmarks, and drawing what was fitted."""
