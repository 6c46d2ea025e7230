"""Verdicts become a snapshot with its datasheet and Croissant metadata; audits of what splits share."""
