"""Certificates of gain bounds, and the checker that proves them. Nothing here knows how a certificate was found."""
