"""Where the faces are: detectors behind one protocol."""
