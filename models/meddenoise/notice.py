"""What every result says of itself, wherever it is said."""

NOTICE = "research use, not a medical device"
