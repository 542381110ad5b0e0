"""Readers, one file for each format, in the table FORMATS."""
