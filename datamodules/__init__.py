"""What is learned from: files and stand-ins to samples and batches."""
