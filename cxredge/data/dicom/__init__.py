"""DICOM X-rays as modalities send them (extra ``dicom``).

``header`` reads the attributes that are needed. ``exposure`` refuses files that are not frontal
chest X-rays. ``layout`` and ``samples`` decode the stored values, ``grey_scale_reader`` and
``grey_scale`` map them to grey, and ``picture`` combines these steps. The patient's name and dates
are never in memory, the patient's number only in ``read_exposure``. Messages repeat nothing of a
header except defined terms of the standard.
"""
