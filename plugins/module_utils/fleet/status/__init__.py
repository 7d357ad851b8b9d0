"""Status: how a fleet is, as a document and on one screen."""
