"""Changed heads: pictures of the studio brought to another expression and pose, against the true picture."""
