"""Speech of the studio's people: text → sound and phonemes → curves of the face.

:mod:`~data_prep.studio.speech.espeak` speaks (the one file that knows the C library),
:mod:`~data_prep.studio.speech.corpus` holds what is said and :mod:`~data_prep.studio.speech.voices` who says it,
:mod:`~data_prep.studio.speech.sound` is the microphone, :mod:`~data_prep.studio.speech.visemes` and
:mod:`~data_prep.studio.speech.lips` move the mouth, :mod:`~data_prep.studio.speech.gestures` head, brows and lids;
:mod:`~data_prep.studio.speech.talk` puts them together.
"""
