"""TensorRT 8.5 to 11 and TensorRT for RTX, through one builder and one session, with explicit Q/DQ.

Names that some versions lack are guarded by :meth:`Api.has` in an ``if``. A test reads this
package's code and checks for each version that it reaches no name which that version lacks.
"""
