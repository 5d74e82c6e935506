"""The synthetic studio: people who are drawn, and photographed with everything about them known."""
