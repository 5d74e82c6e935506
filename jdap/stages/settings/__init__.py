"""What can be set of the stages: frozen dataclasses, one file a family, nested under ``model`` on the command line."""
