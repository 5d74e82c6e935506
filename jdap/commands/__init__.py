"""The commands of ``jdap``, a module each."""
