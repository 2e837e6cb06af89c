"""What every store and every transport does alike."""
