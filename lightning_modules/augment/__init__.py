"""What makes photos look or bend like drawings, with exact labels."""
