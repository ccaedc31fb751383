"""DICOM X-rays as modalities send them (extra ``dicom``).

``header`` reads what decides how a picture looks, ``kind`` refuses what is no frontal chest X-ray,
``samples`` decodes the stored values, ``scale`` and ``grey_scale`` turn them into grey, and
``picture`` joins them. A patient's name or dates are never in memory, the patient's number only
where ``patient`` is asked for it, and no message repeats what a header says unless it is a term of
the standard's.
"""
