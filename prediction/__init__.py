"""What one uses a landmarker with: pictures and videos in, faces with their landmarks out."""
