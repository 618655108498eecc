"""What can be wrong with data whose files are all readable: labels, boxes, and faces in two roles."""
