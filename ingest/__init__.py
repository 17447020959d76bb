"""Producers: recognise, read, write into the lake."""
