"""Chest X-ray classifiers on edge devices, from a folder of images to a measured INT8 model.

The stages meet at files, never at function calls::

    data/      images -> manifest.csv             (which X-ray, which class, which split)
    training/  manifest -> RUN/                   (torch lives here, in models/ and in export.py)
    export     RUN/ -> MODEL/                     (FP32 ONNX, the normalisation inside)
    quantization/  MODEL/ + images -> MODEL/      (INT8 ONNX, in the target's dialect)
    build      MODEL/ -> BUNDLE/                  (what goes to the device, behind a gate)
    predict, evaluate, bench    BUNDLE/ -> results
    report/    results -> one page

``cli/`` joins them and is the only place that prints.
"""

__version__ = "0.1.0"
