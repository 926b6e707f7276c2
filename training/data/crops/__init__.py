"""Raw footage into training crops: ``windows`` and ``plan`` say what to cut, ``video`` cuts it.

Two passes over a file: the first follows the faces, the second cuts and encodes. Neither keeps frames.
"""
