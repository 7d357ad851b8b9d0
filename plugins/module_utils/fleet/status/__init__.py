"""The fleet's status, as a document and on one screen."""
