"""Face models of others, and mediapipe's landmarks, brought onto the head model."""
