"""What `headwarp evaluate` does: trials of a driven source, what is measured in them, and the report.

``clips``: a clip drives its own first frame; its frames are the truth. ``pairs``: a photo is driven by
another person; there is no truth. ``networks``: what needs a user's weights. ``sights``: what is seen in a
picture. ``measure``: a trial performed by every animator. ``report``: means, definitions, differences.
"""
