"""Training: from a run folder's request to its result, by MMEngine's runner and hooks of ours.

``run`` is the one way in; ``runner`` has the loop's events, ``hooks`` what listens to them.
"""
