"""A GPU day: everything that only a GPU can tell, as one prepared command that fits into minutes.

``python -m bench.gpu_day --minutes 9 --out DIR`` (or ``make gpu``) runs the stages of `plan.STAGES` in order, each in a process of its own and
within its part of the time. A stage is a list of cases; what each gave is written at once, to ``results.jsonl`` and ``report.txt``. A case that
fails, crashes or hangs never stops the next one. It runs from a source tree; nothing has to be installed and no network is used.

``--standin`` tries the same on the tests' stand-in for CuPy, as far as that goes, where there is no GPU.
"""
