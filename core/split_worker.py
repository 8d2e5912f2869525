"""`python -m core.split_worker`: a process that does tasks of split-data training, one at a time.

Started by `core.split_workers.Process`, which says how the two talk.
"""

from core.split_workers import serve

if __name__ == "__main__":
    serve()
