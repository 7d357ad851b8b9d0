"""Thumbnails of images on the web."""
