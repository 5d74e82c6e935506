"""The light of a portrait: what falls on a shape, how it is estimated from a picture, and pictures in other light."""
