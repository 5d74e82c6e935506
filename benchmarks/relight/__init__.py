"""Relighting: pictures of the studio in another light, against the picture that it took in that light."""
