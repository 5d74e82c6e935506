"""How the studio's people look: where the parts of a head are, their colours, the light on them, the picture around
them.

* :mod:`data_prep.studio.looks.regions`: soft masks of the head model (lips, brows, scalp, clothes …)
* :mod:`data_prep.studio.looks.noise`: smooth noise in head space
* :mod:`data_prep.studio.looks.person`: a person's colours, drawn at random and painted on the head
* :mod:`data_prep.studio.looks.light`: the light of a picture, and shading
* :mod:`data_prep.studio.looks.picture`: backgrounds, downsampling, exposure, sensor

All colours are linear RGB (BT.709 primaries) until the very end; what is random comes from NumPy generators, so
that it is the same on every device.
"""
