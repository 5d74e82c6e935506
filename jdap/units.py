"""Units of sound and pictures that everything here shares."""

#: Samples a second of all sound, mono.
SAMPLE_RATE = 16000
#: Frames a second of all video, once it is prepared; sound encoders are in step with it.
FPS = 25
