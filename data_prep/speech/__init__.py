"""Speech of the studio's people: text → sound and phonemes → curves of the face.

:mod:`~data_prep.speech.espeak` speaks (the one file that knows the C library), :mod:`~data_prep.speech.corpus` holds
what is said and :mod:`~data_prep.speech.voices` who says it, :mod:`~data_prep.speech.sound` is the microphone,
:mod:`~data_prep.speech.visemes` and :mod:`~data_prep.speech.lips` move the mouth,
:mod:`~data_prep.speech.gestures` head, brows and lids; :mod:`~data_prep.speech.talk` puts them together.
"""
