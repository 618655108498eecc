"""The page of ``warpmark demo``: landmarks on a picture, and a photo warped onto a drawing, in the browser."""
